/** Several senders for every event, each with its own encoder, filters and buffer. */

import { isTable, shown } from "../config/convert.js";
import type { Plan } from "../config/plan.js";
import { plan } from "../config/plan.js";
import { Problems, SenderError } from "../core/errors.js";
import type { Sender } from "./sender.js";

const OF_A_BRANCH = ["buffer", "encoder", "filters", "sender"];

/**
 * Gives every event to several branches, each a pipeline with a stream of its own, so that no filter makes a false gap. A branch is a
 * sender (name, URL or table), or a table with `sender` and, if wanted, `encoder`, `filters` and `buffer`.
 */
export class TeeSender implements Sender {
  readonly max_frame = 8192;
  readonly nonblocking = true;
  readonly branches: Plan[] = [];

  constructor({ senders = [] }: { senders?: unknown[] }) {
    if (senders.length === 0) throw new Error("senders = []: wants at least one");
    const problems = new Problems();
    senders.forEach((branch, index) => {
      const where = `senders[${index}]`;
      const settings: Record<string, unknown> = isTable(branch) && "sender" in branch ? { ...branch } : { sender: branch };
      for (const key of Object.keys(settings).sort()) {
        if (OF_A_BRANCH.includes(key)) continue;
        problems.add(`${where}.${key} = ${shown(key, settings[key])}: a branch has ${OF_A_BRANCH.join(", ")}; set it outside`);
        delete settings[key];
      }
      const made = problems.catch(where, () => plan(settings, where));
      if (made !== undefined) this.branches.push(made);
    });
    if (problems.lines.length > 0) this.close();
    problems.check();
  }

  /** Opens the branches' senders, or none of them. */
  open(): void {
    try {
      for (const branch of this.branches) branch.open();
    } catch (error) {
      for (const branch of this.branches) branch.discard();
      throw error;
    }
  }

  send(): void {
    throw new SenderError("tee: its branches make their own frames", "tee");
  }

  /** The branches close by themselves. */
  close(): void {}
}
