// node send.mjs ENDPOINT FEATURE [grpc|http/protobuf|http/json]: one trace with a model call, then, in requests
// of their own, its outcome and a log record. Prints what was sent, as JSON, once all is acknowledged.

import { ROOT_CONTEXT, SpanKind, trace } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const [endpoint, feature, protocol = "grpc"] = process.argv.slice(2);
const suffix = { grpc: "grpc", "http/protobuf": "proto", "http/json": "http" }[protocol];
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${suffix}`);
const { OTLPLogExporter } = await import(`@opentelemetry/exporter-logs-otlp-${suffix}`);
const sent = { spans: [], logs: [] };
const failures = [];

function watched(exporter, note) {
  const send = exporter.export.bind(exporter);
  exporter.export = (items, done) =>
    send(items, (result) => {
      if (result.code !== 0) failures.push(result.error ?? new Error("the receiver refused it"));
      else items.forEach(note);
      done(result);
    });
  return exporter;
}

const options = (path) => ({ url: protocol === "grpc" ? endpoint : endpoint + path, compression: "gzip" });
const resource = resourceFromAttributes({ "service.name": "node-sender" });
const spans = watched(new OTLPTraceExporter(options("/v1/traces")), (span) => sent.spans.push(span.spanContext().spanId));
const provider = new NodeTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(spans)] });
const logs = watched(new OTLPLogExporter(options("/v1/logs")), (record) => sent.logs.push(record.eventName));
const loggers = new LoggerProvider({ resource, processors: [new BatchLogRecordProcessor({ exporter: logs })] });
const tracer = provider.getTracer("node-sender");

const root = tracer.startSpan("POST /chat", { kind: SpanKind.SERVER, attributes: { feature } }, ROOT_CONTEXT);
const inside = trace.setSpan(ROOT_CONTEXT, root);
const call = tracer.startSpan(
  "chat gpt-5-mini",
  {
    kind: SpanKind.CLIENT,
    attributes: {
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "openai",
      "gen_ai.request.model": "gpt-5-mini",
      "gen_ai.response.model": "gpt-5-mini",
      "gen_ai.response.id": `chatcmpl-${root.spanContext().traceId}`,
      "gen_ai.usage.input_tokens": 1000,
      "gen_ai.usage.output_tokens": 100,
    },
  },
  inside,
);
call.end();
root.end();
await provider.forceFlush();

tracer.startSpan("outcome", { attributes: { "outcome.resolved": true } }, inside).end();
await provider.forceFlush();

const attributes = { feature, "half.an.emoji": "\u{1F600}".slice(0, 1), "no.number": NaN, "no.integer": 1e300 };
loggers.getLogger("node-sender").emit({ eventName: "feedback", body: { liked: true }, attributes, context: inside });
await loggers.forceFlush();
if (failures.length) throw failures[0];
console.log(JSON.stringify(sent));
await provider.shutdown();
await loggers.shutdown();
