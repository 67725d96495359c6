// node send.mjs ENDPOINT FEATURE: one trace with a model call, then, in a request of its own, its outcome.
// Prints the trace id once the outcome is acknowledged.

import { context, ROOT_CONTEXT, SpanKind, trace } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const [endpoint, feature] = process.argv.slice(2);
const failures = [];
const exporter = new OTLPTraceExporter({ url: endpoint });
const acknowledged = exporter.export.bind(exporter);
exporter.export = (spans, done) =>
  acknowledged(spans, (result) => {
    if (result.code !== 0) failures.push(result.error ?? new Error("the receiver refused the spans"));
    done(result);
  });

const processor = new BatchSpanProcessor(exporter);
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "node-sender" }),
  spanProcessors: [processor],
});
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
if (failures.length) throw failures[0];
console.log(root.spanContext().traceId);
await provider.shutdown();
