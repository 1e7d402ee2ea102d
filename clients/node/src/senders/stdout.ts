/** Standard output and standard error: what a container's log collector reads. */

import { setImmediate } from "node:timers";
import { messageOf, SenderError } from "../core/errors.js";
import { atLeast, closedError } from "./options.js";
import type { Sender } from "./sender.js";

const PIPE_FRAME = 4096; // PIPE_BUF of Linux: what a pipe takes in one piece, so that several processes can share one

/**
 * Writes frames to a standard stream, behind what the application has written there. On Linux Node.js writes to files, pipes and terminals
 * within the call: a reader that does not read holds the process up, as it does for `console.log`.
 */
export class StreamSender implements Sender {
  readonly max_frame: number;
  private closed = false;

  constructor(
    private readonly name: "stdout" | "stderr",
    { max_frame = PIPE_FRAME }: { max_frame?: number } = {},
  ) {
    atLeast("max_frame", max_frame, 64, "bytes");
    this.max_frame = max_frame;
  }

  async send(frame: Uint8Array): Promise<void> {
    if (this.closed) throw closedError(this.name);
    const stream = process[this.name];
    await new Promise<void>((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void => {
        const gone = error.code === "EPIPE";
        reject(new SenderError(gone ? `nobody reads ${this.name} any more` : `${this.name}: ${messageOf(error)}`, gone ? "refused" : "unreachable"));
      };
      stream.once("error", failed); // or an application without a listener of its own would end by it
      stream.write(frame, (error) => {
        if (error) {
          failed(error);
          setImmediate(() => stream.off("error", failed));
        } else {
          stream.off("error", failed);
          resolve();
        }
      });
    });
  }

  sendNow(frame: Uint8Array): boolean {
    process[this.name].write(frame);
    return true;
  }

  close(): void {
    this.closed = true; // the stream is the application's and stays open
  }
}
