// The page's ears and mouth: a microphone and a loudspeaker on one AudioContext, at whatever rate that has.

/** Why there is no microphone, in words for whoever sits there. */
export class MicrophoneError extends Error {}

const REASONS = {
  NotAllowedError: "The browser does not let this page use the microphone. Allow it in the address bar, then try again.",
  NotFoundError: "There is no microphone. Connect one, then try again.",
  NotReadableError: "The microphone cannot be used. Perhaps another program has it.",
};

export class Audio {
  /** `onPiece(Int16Array, level)` gets what is said, `onReport` and `onFlushed` what the loudspeaker says. */
  static async open({ onPiece, onReport, onFlushed }) {
    const audio = new Audio();
    audio.context = new AudioContext({ latencyHint: "interactive" });
    await audio.context.audioWorklet.addModule("worklet.js");
    await audio.context.resume();
    audio.onPiece = onPiece;
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

  /** Ask for the microphone, and hear it. Raises MicrophoneError. */
  async listen() {
    if (!navigator.mediaDevices) {
      throw new MicrophoneError("Browsers give the microphone to https:// pages and to localhost only.");
    }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({
        audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
    } catch (error) {
      throw new MicrophoneError(REASONS[error.name] ?? `The microphone cannot be used: ${error.message}`);
    }
    [this.track] = stream.getAudioTracks();
    const node = new AudioWorkletNode(this.context, "microphone", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => this.onPiece(data.pcm, data.level);
    this.context.createMediaStreamSource(stream).connect(node);
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
