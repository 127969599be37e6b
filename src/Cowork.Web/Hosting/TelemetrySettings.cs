namespace Cowork.Web;

/// <summary>Which signals OpenTelemetry's own variables turn on (docs/telemetry.md). The exporter reads the variables itself; this only checks them.</summary>
public sealed record TelemetrySettings(bool Traces, bool Metrics)
{
    const string Prefix = "OTEL_EXPORTER_OTLP";

    /// <summary>Null: telemetry is off.</summary>
    /// <exception cref="ArgumentException">The message names the variable and what it may be.</exception>
    public static TelemetrySettings? Read(IConfiguration configuration)
    {
        var settings = new TelemetrySettings(IsOn("TRACES"), IsOn("METRICS"));
        if (Value("OTEL_SDK_DISABLED")?.ToLowerInvariant() == "true" || settings is { Traces: false, Metrics: false })
        {
            return null;
        }
        foreach (var signal in (string[])["", "_TRACES", "_METRICS"])
        {
            if (Value($"{Prefix}{signal}_ENDPOINT") is { } endpoint && !(Uri.TryCreate(endpoint, UriKind.Absolute, out var url) && url.Scheme is "http" or "https"))
            {
                throw new ArgumentException($"{Prefix}{signal}_ENDPOINT must be an absolute http or https address, for example http://localhost:4318.");
            }
            if (Value($"{Prefix}{signal}_PROTOCOL") is { } protocol and not ("grpc" or "http/protobuf"))
            {
                throw new ArgumentException($"{Prefix}{signal}_PROTOCOL is \"{protocol}\"; it may be grpc or http/protobuf.");
            }
        }
        return settings;

        string? Value(string name) => string.IsNullOrWhiteSpace(configuration[name]) ? null : configuration[name]!.Trim();

        bool IsOn(string signal) =>
            (Value($"{Prefix}_ENDPOINT") ?? Value($"{Prefix}_{signal}_ENDPOINT")) is not null
            && (Value($"OTEL_{signal}_EXPORTER")?.Split(',', StringSplitOptions.TrimEntries).Contains("otlp") ?? true);
    }
}
