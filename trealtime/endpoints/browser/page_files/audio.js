// The page's ears and mouth: a microphone and a loudspeaker on one AudioContext, at the rate that it has.

/** Why there is no microphone, in words for the user. */
export class MicrophoneError extends Error {}

/** Why there is no sound at all, in words for the user. */
export class SoundError extends Error {}

const MOST_RATE = 192_000; // that the server takes; some sound cards run at 384,000

const REASONS = {
  NotAllowedError: "The browser does not let this page use the microphone. Allow it in the address bar, then try again.",
  NotFoundError: "There is no microphone. Connect one, then try again.",
  NotReadableError: "The microphone cannot be used. Perhaps another program has it.",
};

/** The device that the system uses as its microphone; browsers that do not say have none. */
async function defaultGroup() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.find(({ kind, deviceId }) => kind === "audioinput" && deviceId === "default")?.groupId;
}

export class Audio {
  /**
   * `onPiece(Int16Array, level)` gets the user's audio, `onReport` and `onFlushed` the loudspeaker's reports. `onLost` is
   * called when the microphone has gone, `onSuspended(bool)` when the browser stops the page's sound or lets it go on.
   * Raises SoundError.
   */
  static async open({ onPiece, onReport, onFlushed, onLost, onSuspended }) {
    if (!window.isSecureContext) {
      throw new SoundError(
        "Browsers give sound and microphone to pages at https:// and at localhost only, and this page came by plain " +
          `http. Open it at https://${location.hostname}, if the server has TLS, or at http://localhost:${location.port} ` +
          "on the server's own machine. You can also go on without sound, and type.",
      );
    }
    const audio = new Audio();
    audio.context = new AudioContext({ latencyHint: "interactive" });
    if (audio.context.sampleRate > MOST_RATE) {
      await audio.context.close();
      audio.context = new AudioContext({ latencyHint: "interactive", sampleRate: 48_000 });
    }
    await audio.context.audioWorklet.addModule("worklet.js");
    await audio.context.resume();
    audio.onPiece = onPiece;
    audio.onLost = onLost;
    audio.context.onstatechange = () => onSuspended(audio.context.state !== "running");
    audio.loudspeaker = new AudioWorkletNode(audio.context, "loudspeaker", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    audio.loudspeaker.port.onmessage = ({ data }) => (data.flushed === undefined ? onReport(data) : onFlushed(data));
    audio.meter = new AnalyserNode(audio.context, { fftSize: 2048 });
    audio.loudspeaker.connect(audio.meter).connect(audio.context.destination);
    audio.tellLatency();
    setInterval(() => audio.tellLatency(), 1000); // it changes when another device is chosen
    return audio;
  }

  get rate() {
    return this.context.sampleRate;
  }

  /** Let the sound go on after the browser has stopped it. */
  async resume() {
    await this.context.resume();
  }

  /** Ask for the microphone, and hear it. Raises MicrophoneError. */
  async listen() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
    } catch (error) {
      throw new MicrophoneError(REASONS[error.name] ?? `The microphone cannot be used: ${error.message}`);
    }
    const muted = this.track ? !this.track.enabled : false;
    this.track?.stop(); // or it would be on for ever, and its end would be taken for that of the new one
    [this.track] = stream.getAudioTracks();
    this.track.enabled = !muted;
    this.track.onended = () => this.onLost();
    this.source?.disconnect();
    this.microphone ??= new AudioWorkletNode(this.context, "microphone", { numberOfOutputs: 0 });
    this.microphone.port.onmessage = ({ data }) => this.onPiece(data.pcm, data.level);
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.microphone);
    this.group = await defaultGroup();
  }

  /** Whether the system's microphone is another device than the one that is heard. */
  async anotherIsDefault() {
    const group = await defaultGroup();
    return group !== undefined && this.group !== undefined && group !== this.group;
  }

  /** Silence in place of the microphone, made by the browser: nothing that is said leaves it. */
  set muted(muted) {
    if (this.track) this.track.enabled = !muted;
  }

  play(epoch, pcm) {
    this.loudspeaker.port.postMessage({ epoch, pcm }, [pcm.buffer]);
  }

  flush(epoch) {
    this.loudspeaker.port.postMessage({ flush: epoch });
  }

  /** How loud the loudspeaker is right now: RMS from 0 to 1. */
  get level() {
    const samples = new Float32Array(this.meter.fftSize);
    this.meter.getFloatTimeDomainData(samples);
    return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
  }

  tellLatency() {
    this.loudspeaker.port.postMessage({ latency: this.context.outputLatency || this.context.baseLatency || 0 });
  }
}

/** In place of `Audio` where there is no sound: what would be played passes by the clock, so that the agent goes on. */
export class NoAudio {
  rate = 24_000;
  level = 0;
  epoch = 0;
  given = 0; // samples of the epoch
  heard = 0;

  constructor({ onReport }) {
    let then = performance.now();
    setInterval(() => {
      const now = performance.now();
      const passed = Math.round(((now - then) * this.rate) / 1000);
      then = now;
      if (this.heard === this.given) return;
      this.heard = Math.min(this.given, this.heard + passed);
      onReport({ epoch: this.epoch, played: this.heard, heard: this.heard, queued: this.given - this.heard });
    }, 50);
  }

  play(epoch, pcm) {
    if (epoch === this.epoch) this.given += pcm.length;
  }

  flush(epoch) {
    this.epoch = epoch;
    this.given = this.heard = 0;
  }
}
