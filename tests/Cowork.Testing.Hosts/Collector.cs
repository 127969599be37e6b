using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;
using System.Text;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace Cowork.Testing.Hosts;

/// <summary>A span as it came over the wire.</summary>
public sealed record SentSpan(
    string Scope, string TraceId, string SpanId, string ParentId, string Name, int Kind, bool IsError, IReadOnlyDictionary<string, string> Attributes,
    IReadOnlyList<(string TraceId, string SpanId)> Links)
{
    public string? this[string attribute] => Attributes.GetValueOrDefault(attribute);
}

/// <summary>A data point as it came over the wire.</summary>
/// <param name="Value">Of a histogram: how many values it holds.</param>
public sealed record SentPoint(string Scope, string Name, string Unit, IReadOnlyDictionary<string, string> Attributes, double Value);

/// <summary>An OTLP receiver on loopback, over HTTP/protobuf and over gRPC, that keeps everything.</summary>
public sealed class Collector : IAsyncDisposable
{
    readonly WebApplication app;

    Collector(WebApplication app) => this.app = app;

    public ConcurrentQueue<SentSpan> Spans { get; } = new();

    public ConcurrentQueue<SentPoint> Points { get; } = new();

    /// <summary>Of the last request.</summary>
    public IReadOnlyDictionary<string, string> Resource { get; private set; } = new Dictionary<string, string>();

    /// <summary>Bodies as they came.</summary>
    public ConcurrentQueue<byte[]> Bodies { get; } = new();

    /// <summary>The headers of every request, one a line.</summary>
    public ConcurrentQueue<string> Headers { get; } = new();

    /// <summary>Paths that were asked for.</summary>
    public ConcurrentDictionary<string, int> Asked { get; } = new();

    string HttpUrl => app.Urls.First();

    string GrpcUrl => app.Urls.Last();

    public static async Task<Collector> Start()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Listen(System.Net.IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http1);
            kestrel.Listen(System.Net.IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http2);
        });
        var app = builder.Build();
        var collector = new Collector(app);
        app.Run(collector.Take);
        await app.StartAsync();
        return collector;
    }

    /// <summary>The environment of a host that sends here, soon.</summary>
    public (string, string)[] Environment(string protocol = "http/protobuf") =>
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", protocol == "grpc" ? GrpcUrl : HttpUrl), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200"),
    ];

    /// <summary>The spans of a trace, once there are some that fit.</summary>
    public async Task<IReadOnlyList<SentSpan>> Trace(string traceId, Func<IReadOnlyList<SentSpan>, bool> fits)
    {
        IReadOnlyList<SentSpan> spans = [];
        await Patience.Until(() => fits(spans = [.. Spans.Where(s => s.TraceId == traceId)]), () => $"the trace {traceId} has\n{string.Join('\n', spans)}");
        return spans;
    }

    public async ValueTask DisposeAsync() => await app.DisposeAsync();

    async Task Take(HttpContext http)
    {
        using var copy = new MemoryStream();
        await http.Request.Body.CopyToAsync(copy);
        var body = copy.ToArray();
        var path = http.Request.Path.Value!;
        Asked.AddOrUpdate(path, 1, (_, n) => n + 1);
        Headers.Enqueue(string.Join('\n', http.Request.Headers.Select(h => $"{h.Key}: {h.Value}")));
        var isGrpc = http.Request.ContentType == "application/grpc";
        // A gRPC message stands behind five bytes: not compressed, and its length.
        var message = isGrpc ? body[5..] : body;
        Bodies.Enqueue(message);
        if (path is "/v1/traces" or "/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        {
            TakeSpans(message);
        }
        else if (path is "/v1/metrics" or "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export")
        {
            TakeMetrics(message);
        }
        http.Response.ContentType = isGrpc ? "application/grpc" : "application/x-protobuf";
        if (isGrpc)
        {
            http.Response.DeclareTrailer("grpc-status");
            await http.Response.Body.WriteAsync(new byte[5]);
            http.Response.AppendTrailer("grpc-status", "0");
        }
    }

    void TakeSpans(byte[] request)
    {
        foreach (var resource in new Wire(request).All(1))
        {
            Resource = resource.One(1)?.Pairs(1) ?? Resource;
            foreach (var scope in resource.All(2))
            {
                foreach (var span in scope.All(2))
                {
                    Spans.Enqueue(new(
                        scope.One(1)?.Text(1) ?? "", span.Hex(1), span.Hex(2), span.Hex(4), span.Text(5), (int)span.Number(6), span.One(15)?.Number(3) == 2, span.Pairs(9),
                        [.. span.All(13).Select(link => (link.Hex(1), link.Hex(2)))]));
                }
            }
        }
    }

    void TakeMetrics(byte[] request)
    {
        foreach (var scope in new Wire(request).All(1).SelectMany(resource => resource.All(2)))
        {
            foreach (var metric in scope.All(2))
            {
                foreach (var point in (metric.One(5) ?? metric.One(7))?.All(1) ?? [])
                {
                    Points.Enqueue(new(scope.One(1)!.Text(1), metric.Text(1), metric.Text(3), point.Pairs(7), point.Has(4) ? point.Double(4) : point.Number(6)));
                }
                foreach (var point in metric.One(9)?.All(1) ?? [])
                {
                    Points.Enqueue(new(scope.One(1)!.Text(1), metric.Text(1), metric.Text(3), point.Pairs(9), point.Number(4)));
                }
            }
        }
    }

    /// <summary>A protobuf message, as far as OTLP needs one to be read.</summary>
    sealed class Wire
    {
        readonly List<(int Field, ulong Number, ReadOnlyMemory<byte> Bytes)> fields = [];

        public Wire(ReadOnlyMemory<byte> message)
        {
            var at = 0;
            while (at < message.Length)
            {
                var key = Varint(message.Span, ref at);
                var (field, kind) = ((int)(key >> 3), (int)(key & 7));
                switch (kind)
                {
                    case 0:
                        fields.Add((field, Varint(message.Span, ref at), default));
                        break;
                    case 1:
                        fields.Add((field, BinaryPrimitives.ReadUInt64LittleEndian(message.Span[at..]), default));
                        at += 8;
                        break;
                    case 2:
                        var length = (int)Varint(message.Span, ref at);
                        fields.Add((field, 0, message.Slice(at, length)));
                        at += length;
                        break;
                    case 5:
                        fields.Add((field, BinaryPrimitives.ReadUInt32LittleEndian(message.Span[at..]), default));
                        at += 4;
                        break;
                    default:
                        throw new InvalidDataException($"Wire type {kind}.");
                }
            }
        }

        public bool Has(int field) => fields.Exists(f => f.Field == field);

        public long Number(int field) => (long)fields.Find(f => f.Field == field).Number;

        public double Double(int field) => BitConverter.UInt64BitsToDouble(fields.Find(f => f.Field == field).Number);

        public string Text(int field) => Encoding.UTF8.GetString(fields.Find(f => f.Field == field).Bytes.Span);

        public string Hex(int field) => Convert.ToHexStringLower(fields.Find(f => f.Field == field).Bytes.Span);

        public IEnumerable<Wire> All(int field) => fields.Where(f => f.Field == field).Select(f => new Wire(f.Bytes));

        public Wire? One(int field) => All(field).FirstOrDefault();

        /// <summary>Attributes, their values as text.</summary>
        public Dictionary<string, string> Pairs(int field) => All(field).ToDictionary(pair => pair.Text(1), pair => pair.One(2)!.Value());

        string Value() =>
            Has(1) ? Text(1)
            : Has(2) ? Number(2) == 1 ? "true" : "false"
            : Has(3) ? Number(3).ToString(CultureInfo.InvariantCulture)
            : Has(4) ? Double(4).ToString(CultureInfo.InvariantCulture)
            : string.Join(',', One(5)!.All(1).Select(v => v.Value()));

        static ulong Varint(ReadOnlySpan<byte> bytes, ref int at)
        {
            var value = 0UL;
            for (var shift = 0; ; shift += 7)
            {
                var b = bytes[at++];
                value |= (ulong)(b & 0x7f) << shift;
                if (b < 0x80)
                {
                    return value;
                }
            }
        }
    }
}
