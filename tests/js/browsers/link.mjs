// A network between a browser and a server, which can fall silent.
import net from "node:net";

/** A way to a port of this machine. */
export class Link {
  /** The bytes that came from the browser, and from the server. */
  sent = 0;
  received = 0;
  #open = new Set();
  #server = net.createServer({ noDelay: true }, (near) => this.#join(near));

  static async to(target) {
    const link = new Link();
    link.target = target;
    await new Promise((resolve) => link.#server.listen(0, "127.0.0.1", resolve));
    link.url = `http://127.0.0.1:${link.#server.address().port}`;
    return link;
  }

  /** Lets the connections that are open now carry nothing more, and closes none: neither end can see it. New connections work. */
  silence() {
    for (const ends of this.#open) {
      for (const end of ends) end.unpipe().pause();
    }
    const silent = this.#open.size;
    this.#open = new Set();
    return silent;
  }

  close() {
    this.#server.close();
    for (const end of this.all) end.destroy();
  }

  all = new Set();

  #join(near) {
    const far = net.connect({ port: this.target, host: "127.0.0.1", noDelay: true });
    const ends = [near, far];
    this.#open.add(ends);
    near.on("data", ({ length }) => (this.sent += length));
    far.on("data", ({ length }) => (this.received += length));
    near.pipe(far).pipe(near);
    for (const [end, other] of [[near, far], [far, near]]) {
      this.all.add(end);
      end.on("error", () => {});
      end.on("close", () => {
        this.all.delete(end);
        // The end of a silent connection is as unseen as all else on it.
        if (this.#open.delete(ends)) other.destroySoon();
      });
    }
  }
}
