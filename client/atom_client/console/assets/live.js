// Follow a stream of the console's server: reconnect after a failure, and disconnect while the page is hidden.

import { follow } from "./api.js";

const HIDDEN_MS = 60_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;
// The server sends something at least every 23 seconds, even if only an empty line.
const SILENCE_MS = 45_000;

export class Live {
  #options;
  #stream = null;
  #problem = "";
  #openedAt = 0;
  #pause = FIRST_PAUSE_MS;
  #retry = 0;
  #hidden = 0;
  #silence = 0;
  #onVisibility = () => this.#look();

  // `path()` returns what to follow; `onLine` takes a line; `onStatus` gets "live", "lost" (with a sentence),
  // "paused" and, once there is nothing more to come, "ended" (with a sentence if that is a failure).
  constructor(options) {
    this.#options = options;
    document.addEventListener("visibilitychange", this.#onVisibility);
    this.#open();
    this.#look();
  }

  close() {
    document.removeEventListener("visibilitychange", this.#onVisibility);
    clearTimeout(this.#hidden);
    this.#disconnect();
    this.#options = null;
  }

  // Ask again, for another path.
  reopen() {
    if (this.#stream !== null) this.#open();
  }

  async #open() {
    this.#disconnect();
    const stream = (this.#stream = new AbortController());
    const isCurrent = () => stream === this.#stream && this.#options !== null;
    this.#openedAt = performance.now();
    this.#problem = "";
    this.#restartSilenceTimer();
    try {
      await follow(this.#options.path(), (line) => isCurrent() && this.#take(line), stream.signal);
      if (isCurrent()) this.#lose(this.#problem || "the console's server has ended the stream");
    } catch (error) {
      if (!isCurrent()) return;
      // A request that was refused would be refused again.
      if (error.status >= 400 && error.status < 500) this.#end(error.message);
      else this.#lose(error.message);
    }
  }

  #disconnect() {
    clearTimeout(this.#retry);
    clearTimeout(this.#silence);
    this.#stream?.abort();
    this.#stream = null;
  }

  #take(line) {
    this.#restartSilenceTimer();
    const { problem, error, ended, ...news } = line;
    if (Object.keys(news).length) this.#options.onLine(news);
    // The line may have led to the view being closed.
    if (this.#options === null) return;
    if (error !== undefined) return this.#end(error);
    if (ended) return this.#end("");
    if (problem === undefined) return;
    this.#problem = problem;
    this.#options.onStatus(problem ? "lost" : "live", problem);
  }

  // A connection may die unnoticed, for example while a laptop sleeps.
  #restartSilenceTimer() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#lose("the console's server has been silent for a while"), SILENCE_MS);
  }

  #lose(sentence) {
    this.#disconnect();
    // After a connection that held, the first pause is short again.
    if (performance.now() - this.#openedAt > LONGEST_PAUSE_MS) this.#pause = FIRST_PAUSE_MS;
    this.#retry = setTimeout(() => this.#open(), this.#pause);
    this.#pause = Math.min(LONGEST_PAUSE_MS, this.#pause * 2);
    this.#options.onStatus("lost", sentence);
  }

  #end(sentence) {
    const { onStatus } = this.#options;
    this.close();
    onStatus("ended", sentence);
  }

  // A page that is hidden for a while gives up its connection, since browsers allow only a few per server.
  #look() {
    clearTimeout(this.#hidden);
    if (document.visibilityState === "hidden") this.#hidden = setTimeout(() => this.#rest(), HIDDEN_MS);
    else if (this.#stream === null) this.#open();
  }

  #rest() {
    this.#disconnect();
    this.#options.onStatus("paused", "");
  }
}
