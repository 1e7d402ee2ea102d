/** metlog's own components, registered as anyone else's are. */

import type { Encoder } from "../encoders/encoder.js";
import { JsonEncoder } from "../encoders/json.js";
import { MsgpackEncoder } from "../encoders/msgpack.js";
import { SignedEncoder } from "../encoders/signed.js";
import { RateLimit } from "../filters/rate-limit.js";
import { Redact } from "../filters/redact.js";
import { Sample } from "../filters/sample.js";
import { SeverityMax, typeAllow, typeDeny, typeSeverityMax } from "../filters/simple.js";
import { FileSender } from "../senders/file.js";
import { HttpSender } from "../senders/http.js";
import { MemorySender, NullSender } from "../senders/memory.js";
import { StreamSender } from "../senders/stdout.js";
import { TcpSender, UnixSender } from "../senders/tcp.js";
import { TeeSender } from "../senders/tee.js";
import { UdpSender } from "../senders/udp.js";
import { ZmqSender } from "../senders/zmq.js";
import type { Option } from "./convert.js";
import { check, register } from "./registry.js";

const text: Option = { kind: "text" };
const integer: Option = { kind: "integer" };
const number: Option = { kind: "number" };
const boolean: Option = { kind: "boolean" };
const size: Option = { kind: "size" };
const seconds: Option = { kind: "duration" };
const texts: Option = { kind: "list", each: "text" };
const hosts: Option = { kind: ["text", "list"], each: "text" };
const files = { ca_file: text, cert_file: text, key_file: text };
const required = (option: Option): Option => ({ ...option, required: true });

register("sender", "udp", (options) => new UdpSender(options), { host: hosts, port: integer, max_frame: size, send_buffer: size, resolve_interval: seconds });
register("sender", "unix", (options) => new UnixSender(options), { path: required(text), kind: text, timeout: seconds, max_frame: size });
register("sender", "tcp", (options) => new TcpSender(options), {
  host: hosts, port: integer, timeout: seconds, tls: boolean, ...files, server_name: text, max_frame: size,
});
const http = {
  host: text, port: integer, path: text, token: text, compression: text, timeout: seconds, give_up: seconds, content_type: text, max_frame: size,
};
register("sender", "http", (options) => new HttpSender(options, false), http);
register("sender", "https", (options) => new HttpSender(options, true), { ...http, ...files });
register("sender", "zmq", (options) => new ZmqSender(options), {
  endpoint: text, pattern: text, bind: boolean, hwm: integer, linger: seconds, server_key: text, public_key: text, secret_key: text, max_frame: size,
});
register("sender", "stdout", (options) => new StreamSender("stdout", options), { max_frame: size });
register("sender", "stderr", (options) => new StreamSender("stderr", options), { max_frame: size });
register("sender", "file", (options) => new FileSender(options), {
  path: required(text), max_bytes: size, keep: integer, fsync: { kind: ["number", "text"] }, mode: { kind: ["integer", "text"] }, max_frame: size,
});
register("sender", "tee", (options) => new TeeSender(options), { senders: required({ kind: "list" }) });
register("sender", "memory", (options) => new MemorySender(options), { max_frame: size, limit: integer });
register("sender", "null", (options) => new NullSender(options), { max_frame: size });

register("encoder", "json", () => new JsonEncoder(), {});
register("encoder", "msgpack", () => new MsgpackEncoder(), {});
register(
  "encoder",
  "signed",
  ({ key, key_id, encoder = "json", keys }) => {
    const inner = check("encoder", encoder, "encoder").prepare() as Encoder;
    return new SignedEncoder(inner, key as string, key_id as string | undefined, keys as Record<string, string> | undefined);
  },
  { key: required(text), key_id: text, encoder: { kind: "any" }, keys: { kind: "table", each: "text" } },
);

register("filter", "severity_max", ({ severity }) => new SeverityMax(severity as number), { severity: required(integer) });
register("filter", "type_allow", ({ types }) => typeAllow(types as string[]), { types: required(texts) });
register("filter", "type_deny", ({ types }) => typeDeny(types as string[]), { types: required(texts) });
register("filter", "type_severity_max", ({ types }) => typeSeverityMax(types as Record<string, number>), {
  types: required({ kind: "table", each: "integer" }),
});
register("filter", "sample", (options) => new Sample(options as never), { rate: required(number), field: text, types: texts });
register("filter", "rate_limit", (options) => new RateLimit(options as never), {
  rate: required(number), burst: number, window: seconds, types: texts, max_types: integer,
});
register("filter", "redact", (options) => new Redact(options), {
  drop: texts, keep: texts, pseudonymize: texts, key: text, cut_ip: texts, mask: texts, mask_with: text,
});
