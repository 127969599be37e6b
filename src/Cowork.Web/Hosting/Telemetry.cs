using System.Diagnostics.Tracing;

using Cowork.Application;

using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Cowork.Web;

/// <summary>
/// Sends traces and metrics to a collector (docs/telemetry.md). It is made only when one is configured: without it no span is begun and no instrument
/// measures. A collector that is away costs a bounded buffer, one line in the log now and then, and nothing else.
/// </summary>
sealed partial class Telemetry : IDisposable
{
    /// <summary>How long a stopping host waits for the collector to take the last of it.</summary>
    const int LastWaitMs = 2_000;

    readonly OpenTelemetrySdk sdk;
    readonly Trouble trouble;

    Telemetry(OpenTelemetrySdk sdk, Trouble trouble) => (this.sdk, this.trouble) = (sdk, trouble);

    public static Telemetry? Start(TelemetrySettings? settings, TimeProvider clock, ILogger<Telemetry> logger)
    {
        if (settings is null)
        {
            return null;
        }
        var trouble = new Trouble(clock, logger);
        var sdk = OpenTelemetrySdk.Create(otel =>
        {
            otel.Services.AddSingleton<IConfiguration>(new ConfigurationBuilder().AddInMemoryCollection(settings.Variables).Build());
            otel.ConfigureResource(Describe);
            if (settings.Traces)
            {
                otel.WithTracing(traces => traces.AddSource(Spans.Source.Name, "Microsoft.AspNetCore"));
            }
            if (settings.Metrics)
            {
                otel.WithMetrics(metrics => metrics.AddMeter(Measures.MeterName, "Microsoft.AspNetCore.Hosting"));
            }
            otel.UseOtlpExporter();
        });
        LogOn(logger, settings.Traces ? settings.Metrics ? "Traces and metrics" : "Traces" : "Metrics");
        return new(sdk, trouble);
    }

    public void Dispose()
    {
        sdk.TracerProvider.Shutdown(LastWaitMs);
        sdk.MeterProvider.Shutdown(LastWaitMs);
        sdk.Dispose();
        trouble.Dispose();
    }

    /// <summary>What the variables say of the service comes last, and so counts.</summary>
    static void Describe(ResourceBuilder resource) => resource.Clear()
        .AddAttributes(
        [
            new("service.name", "cowork"),
            new("service.version", typeof(Telemetry).Assembly.GetName().Version?.ToString() ?? ""),
            new("service.instance.id", $"{Environment.MachineName}:{Environment.ProcessId}"),
        ])
        .AddTelemetrySdk().AddEnvironmentVariableDetector();

    /// <summary>The exporter tells of its failures only here; once in five minutes one is worth a line.</summary>
    sealed class Trouble(TimeProvider clock, ILogger logger) : EventListener
    {
        static readonly TimeSpan Quiet = TimeSpan.FromMinutes(5);

        readonly Lock gate = new();
        long? last;

        protected override void OnEventSourceCreated(EventSource eventSource)
        {
            if (eventSource.Name == "OpenTelemetry-Exporter-OpenTelemetryProtocol")
            {
                EnableEvents(eventSource, EventLevel.Warning);
            }
        }

        protected override void OnEventWritten(EventWrittenEventArgs eventData)
        {
            lock (gate)
            {
                if (last is { } told && clock.GetElapsedTime(told) < Quiet)
                {
                    return;
                }
                last = clock.GetTimestamp();
            }
            // Its payload has addresses and whatever a server answers; the name says enough.
            LogTrouble(logger, eventData.EventName ?? "unknown");
        }
    }

    [LoggerMessage(1, LogLevel.Information, "{Signals} go to the OTLP endpoint that the environment names")]
    static partial void LogOn(ILogger logger, string signals);

    [LoggerMessage(2, LogLevel.Warning, "The OTLP endpoint did not take what it was sent ({Event}); what does not fit the buffer is dropped")]
    static partial void LogTrouble(ILogger logger, string @event);
}
