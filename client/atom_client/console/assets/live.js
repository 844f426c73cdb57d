// Follow a stream of the console's server: again after a break, and not for long while no one can see the page.

import { follow } from "./api.js";

const HIDDEN_MS = 60_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

export class Live {
  #options;
  #stream = null;
  #timer = 0;
  #pause = FIRST_PAUSE_MS;
  #onVisibility = () => this.#look();

  // `path()` returns what to follow; `onLine` takes a line; `onStatus` is called with "live", "lost" (with a sentence),
  // "paused" and, once there is nothing more to come, "ended".
  constructor(options) {
    this.#options = options;
    document.addEventListener("visibilitychange", this.#onVisibility);
    this.#open();
  }

  close() {
    document.removeEventListener("visibilitychange", this.#onVisibility);
    clearTimeout(this.#timer);
    this.#stream?.abort();
    this.#stream = null;
    this.#options = null;
  }

  async #open() {
    clearTimeout(this.#timer);
    const stream = (this.#stream = new AbortController());
    const isCurrent = () => stream === this.#stream && this.#options !== null;
    try {
      await follow(this.#options.path(), (line) => isCurrent() && this.#take(line), stream.signal);
      if (isCurrent()) this.#lose("the console's server has ended the stream");
    } catch (error) {
      if (!isCurrent()) return;
      // A request that was refused would be refused again.
      if (error.status >= 400 && error.status < 500) this.#end("ended", error.message);
      else this.#lose(error.message);
    }
  }

  #take(line) {
    this.#pause = FIRST_PAUSE_MS;
    const { problem, error, ended, ...news } = line;
    if (Object.keys(news).length) this.#options.onLine(news);
    if (error !== undefined) return this.#end("ended", error);
    if (ended) return this.#end("ended", "");
    if (problem !== undefined) this.#options.onStatus(problem ? "lost" : "live", problem);
  }

  #lose(sentence) {
    this.#stream = null;
    this.#options.onStatus("lost", sentence);
    this.#timer = setTimeout(() => this.#open(), this.#pause);
    this.#pause = Math.min(LONGEST_PAUSE_MS, this.#pause * 2);
  }

  #end(status, sentence) {
    const { onStatus } = this.#options;
    this.close();
    onStatus(status, sentence);
  }

  // A page that is hidden for a while gives up its connection: a browser has few for each server.
  #look() {
    clearTimeout(this.#timer);
    if (document.visibilityState === "hidden") this.#timer = setTimeout(() => this.#rest(), HIDDEN_MS);
    else if (this.#stream === null) this.#open();
  }

  #rest() {
    this.#stream?.abort();
    this.#stream = null;
    this.#options.onStatus("paused", "");
  }
}
