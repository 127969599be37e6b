namespace Cowork.Web;

/// <summary>What OpenTelemetry's own variables say (docs/telemetry.md). Headers may hold keys, so that none of it is ever shown.</summary>
public sealed class TelemetrySettings
{
    const string Base = "OTEL_EXPORTER_OTLP";

    static readonly string[] Signals = ["", "_TRACES", "_METRICS"];

    TelemetrySettings(IReadOnlyDictionary<string, string?> variables) => Variables = variables;

    /// <summary>All that begin with <c>OTEL_</c>.</summary>
    public IReadOnlyDictionary<string, string?> Variables { get; }

    public bool Traces => IsSent("TRACES");

    public bool Metrics => IsSent("METRICS");

    /// <summary>Null: nothing is to be sent anywhere.</summary>
    /// <exception cref="ArgumentException">The message says what is wrong.</exception>
    public static TelemetrySettings? Read(IConfiguration configuration)
    {
        var settings = new TelemetrySettings(configuration.AsEnumerable()
            .Where(v => v.Key.StartsWith("OTEL_", StringComparison.Ordinal) && !string.IsNullOrWhiteSpace(v.Value))
            .ToDictionary(v => v.Key, v => v.Value?.Trim()));
        if (string.Equals(settings["OTEL_SDK_DISABLED"], "true", StringComparison.OrdinalIgnoreCase) || !(settings.Traces || settings.Metrics))
        {
            return null;
        }
        foreach (var signal in Signals)
        {
            if (settings[$"{Base}{signal}_ENDPOINT"] is { } endpoint && !(Uri.TryCreate(endpoint, UriKind.Absolute, out var url) && url.Scheme is "http" or "https"))
            {
                throw new ArgumentException($"{Base}{signal}_ENDPOINT must be an absolute http or https address, for example http://localhost:4318.");
            }
            if (settings[$"{Base}{signal}_PROTOCOL"] is { } protocol and not ("grpc" or "http/protobuf"))
            {
                throw new ArgumentException($"{Base}{signal}_PROTOCOL is \"{protocol}\"; it may be grpc or http/protobuf.");
            }
        }
        return settings;
    }

    string? this[string name] => Variables.GetValueOrDefault(name);

    bool IsSent(string signal) =>
        (this[$"{Base}_ENDPOINT"] ?? this[$"{Base}_{signal}_ENDPOINT"]) is not null
        && (this[$"OTEL_{signal}_EXPORTER"]?.Split(',', StringSplitOptions.TrimEntries).Contains("otlp") ?? true);
}
