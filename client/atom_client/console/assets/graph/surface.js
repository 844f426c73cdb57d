// A canvas that shows a large picture smoothly: it is painted into a bitmap larger than the window, in slices, and the
// bitmap is moved and stretched during a gesture. Two bitmaps take turns, so that neither is shown half painted.

// How far a bitmap extends beyond the window on each side, as a part of it; milliseconds of painting per frame.
const MARGIN = 0.5;
const SLICE_MS = 8;
// While the scale changes, a bitmap is stretched until it is off by this factor or the gesture pauses this many ms.
const MOST_STRETCHED = 1.6;
const PAUSE_MS = 90;

export class Surface {
  #context;
  #paint;
  #overlay;
  #front = null;
  #back = null;
  #job = null;
  #isDirty = true;
  #isAsked = false;
  #isClosed = false;
  #zoomedAt = 0;

  // `paint({ view, width, height, ratio, context })` returns a generator; `overlay` draws over the bitmap in each frame.
  constructor(canvas, paint, overlay) {
    this.canvas = canvas;
    this.view = { k: 1, x: 0, y: 0 };
    this.width = 0;
    this.height = 0;
    this.frames = 0;
    this.#context = canvas.getContext("2d", { alpha: false });
    this.#paint = paint;
    this.#overlay = overlay;
  }

  resize(width, height) {
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    Object.assign(this, { width, height });
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    this.#front = this.#bitmap();
    this.#back = this.#bitmap();
    this.#job = null;
    this.repaint();
  }

  #bitmap() {
    const canvas = document.createElement("canvas");
    canvas.width = this.canvas.width * (1 + 2 * MARGIN);
    canvas.height = this.canvas.height * (1 + 2 * MARGIN);
    return { canvas, context: canvas.getContext("2d", { alpha: false }), view: null };
  }

  setView(view) {
    if (view.k !== this.view.k) this.#zoomedAt = performance.now();
    this.view = view;
    this.ask();
  }

  // Repaint, since what is shown has changed.
  repaint() {
    this.#isDirty = true;
    this.ask();
  }

  // Paint everything before the next frame is shown.
  paintAtOnce() {
    if (!this.#front) return;
    this.#start();
    this.#work(Infinity);
    this.ask();
  }

  ask() {
    if (this.#isAsked || this.#isClosed || !this.#front) return;
    this.#isAsked = true;
    requestAnimationFrame(() => this.#frame());
  }

  #start() {
    const { width, height, ratio, view } = this;
    const shifted = { k: view.k, x: view.x + width * MARGIN, y: view.y + height * MARGIN };
    const grown = 1 + 2 * MARGIN;
    this.#isDirty = false;
    this.#back.next = view;
    this.#job = this.#paint({ context: this.#back.context, view: shifted, width: width * grown, height: height * grown, ratio });
  }

  #work(budget) {
    const end = performance.now() + budget;
    while (this.#job) {
      if (this.#job.next().done) {
        this.#back.view = this.#back.next;
        [this.#front, this.#back] = [this.#back, this.#front];
        this.#job = null;
      } else if (performance.now() > end) return;
    }
  }

  // True while the bitmap has the right scale and at least half of its margin on each side.
  #isFresh() {
    const painted = this.#front.view;
    if (!painted || this.#isDirty || painted.k !== this.view.k) return false;
    return Math.abs(painted.x - this.view.x) < (this.width * MARGIN) / 2 && Math.abs(painted.y - this.view.y) < (this.height * MARGIN) / 2;
  }

  #frame() {
    this.#isAsked = false;
    if (this.#isClosed) return;
    this.frames += 1;
    const stretched = this.#front.view ? this.view.k / this.#front.view.k : Infinity;
    const isOff = stretched === 1 || stretched > MOST_STRETCHED || stretched < 1 / MOST_STRETCHED;
    if (!this.#job && !this.#isFresh() && (this.#isDirty || isOff || performance.now() - this.#zoomedAt > PAUSE_MS)) this.#start();
    this.#work(SLICE_MS);
    if (this.#front.view) this.#show();
    if (this.#job || !this.#isFresh()) this.ask();
  }

  #show() {
    const { view, width, height, ratio } = this;
    const context = this.#context;
    const painted = this.#front;
    const scale = view.k / painted.view.k;
    const [x, y] = [view.x - (painted.view.x + width * MARGIN) * scale, view.y - (painted.view.y + height * MARGIN) * scale];
    const [w, h] = [width * (1 + 2 * MARGIN) * scale, height * (1 + 2 * MARGIN) * scale];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (x > 0 || y > 0 || x + w < width || y + h < height) {
      context.fillStyle = this.page ?? "#fff";
      context.fillRect(0, 0, width, height);
    }
    context.imageSmoothingEnabled = scale < 1;
    context.drawImage(painted.canvas, x, y, w, h);
    this.#overlay(context, view);
  }

  close() {
    this.#isClosed = true;
    this.#front = this.#back = this.#job = null;
  }
}
