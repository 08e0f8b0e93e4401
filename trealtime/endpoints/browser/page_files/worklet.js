// What runs in the audio thread: the microphone in pieces of 20 ms, and the loudspeaker with an exact count of samples.

const REPORTS_PER_S = 50;
const FADE_MS = 5; // an interrupt fades out over so much of what it throws away, so that it does not click

/** Microphone: posts {pcm: Int16 samples, level: RMS} for every 20 ms. */
class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.begin();
  }

  begin() {
    this.pcm = new Int16Array(Math.round(sampleRate / REPORTS_PER_S));
    this.filled = 0;
    this.squares = 0;
  }

  process([channels]) {
    for (let i = 0; i < (channels[0]?.length ?? 0); i++) {
      let sample = 0;
      for (const channel of channels) sample += channel[i] / channels.length;
      this.squares += sample * sample;
      this.pcm[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === this.pcm.length) {
        const level = Math.sqrt(this.squares / this.pcm.length);
        this.port.postMessage({ pcm: this.pcm, level }, [this.pcm.buffer]);
        this.begin();
      }
    }
    return true;
  }
}

/**
 * Loudspeaker: plays {epoch, pcm}, throws all away at {flush: epoch}, takes {latency} in seconds.
 *
 * Posts {epoch, played, heard, queued} in samples: `played` have left this processor, `heard` have come out of the
 * loudspeaker: the played ones, less the latency. After a flush, {flushed, played, heard} of the epoch that ends.
 */
class Loudspeaker extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunks = [];
    this.offset = 0; // into the first chunk
    this.queued = 0;
    this.tail = []; // what still fades out
    this.latency = 0; // in frames
    this.past = []; // [frame at which a block ended, samples played by then], oldest first
    this.begin(0);
    this.reportAt = 0;
    this.port.onmessage = ({ data }) => this.receive(data);
  }

  begin(epoch) {
    this.epoch = epoch;
    this.played = this.heard = this.reported = 0;
    this.past.length = 0;
  }

  receive(message) {
    if (message.latency !== undefined) {
      this.latency = Math.round(message.latency * sampleRate);
    } else if (message.flush !== undefined) {
      this.listen();
      this.port.postMessage({ flushed: this.epoch, played: this.played, heard: this.heard });
      this.tail = this.take(Math.min(this.queued, Math.round((sampleRate * FADE_MS) / 1000)));
      this.tail.forEach((sample, i) => (this.tail[i] = sample * (1 - i / this.tail.length)));
      this.chunks.length = this.offset = this.queued = 0;
      this.begin(message.flush);
    } else if (message.epoch === this.epoch) {
      this.chunks.push(message.pcm);
      this.queued += message.pcm.length;
    }
  }

  /** The next samples, as numbers from -1 to 1. */
  take(count) {
    const samples = [];
    while (samples.length < count) {
      const [chunk] = this.chunks;
      const end = Math.min(chunk.length, this.offset + count - samples.length);
      while (this.offset < end) samples.push(chunk[this.offset++] / 32768);
      if (this.offset === chunk.length) {
        this.chunks.shift();
        this.offset = 0;
      }
    }
    this.queued -= count;
    return samples;
  }

  /** Find out what has been heard by now. */
  listen() {
    while (this.past.length && this.past[0][0] <= currentFrame - this.latency) this.heard = this.past.shift()[1];
  }

  process(_, [[output]]) {
    const fading = this.tail.splice(0, output.length);
    output.set(fading);
    const samples = this.take(Math.min(this.queued, output.length - fading.length));
    output.set(samples, fading.length);
    if (samples.length) {
      this.played += samples.length;
      this.past.push([currentFrame + output.length, this.played]);
    }
    this.listen();
    if (currentFrame >= this.reportAt && this.heard !== this.reported) {
      this.reportAt = currentFrame + sampleRate / REPORTS_PER_S;
      this.reported = this.heard;
      this.port.postMessage({ epoch: this.epoch, played: this.played, heard: this.heard, queued: this.queued });
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
registerProcessor("loudspeaker", Loudspeaker);
