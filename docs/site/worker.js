/* Search on pages that are opened from the disk: browsers start no worker there, so a hidden frame
   stands in for it. Material takes a script from a CDN for this. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      const receive = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.postMessage = (data) => setTimeout(() => receive(data));
      this.ready = new Promise((resolve) => {
        const script = inside.document.createElement("script");
        script.addEventListener("load", resolve);
        script.src = new URL(url, location.href);
        inside.document.body.append(script);
      });
    }

    postMessage(data) {
      const { contentWindow } = this.frame;
      const event = new contentWindow.MessageEvent("message", { data });
      this.ready.then(() => contentWindow.dispatchEvent(event));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
