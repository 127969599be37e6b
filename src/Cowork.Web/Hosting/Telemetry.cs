using System.Diagnostics.Tracing;

using Cowork.Application;
using Cowork.Web.Http;

using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Cowork.Web;

/// <summary>Sends traces and metrics to a collector (docs/telemetry.md). Without a configured collector there is no provider: no span begins and no instrument measures.</summary>
static class Telemetry
{
    /// <param name="settings">Null: adds nothing.</param>
    public static void AddTelemetry(this IServiceCollection services, TelemetrySettings? settings)
    {
        if (settings is null)
        {
            return;
        }
        var telemetry = services.AddOpenTelemetry().ConfigureResource(DescribeHost);
        if (settings.Traces)
        {
            telemetry.WithTracing(traces => traces.AddSource(Spans.Source.Name).AddAspNetCoreInstrumentation(server =>
            {
                // The query may hold a token.
                server.EnrichWithHttpRequest = (span, _) => span.SetTag("url.query", null);
                server.EnrichWithHttpResponse = (span, response) => span.SetTag("cowork.org", Caller.Find(response.HttpContext)?.Org);
            }));
        }
        if (settings.Metrics)
        {
            telemetry.WithMetrics(metrics => metrics.AddMeter(Measures.MeterName, "Microsoft.AspNetCore.Hosting"));
        }
        telemetry.UseOtlpExporter();
        services.AddSingleton(settings);
        services.AddHostedService<TelemetryExport>();
    }

    /// <summary>The environment's attributes come last and override these.</summary>
    static void DescribeHost(ResourceBuilder resource) => resource.Clear()
        .AddAttributes(
        [
            new("service.name", "cowork"),
            new("service.version", typeof(Telemetry).Assembly.GetName().Version?.ToString() ?? ""),
            new("service.instance.id", $"{Environment.MachineName}:{Environment.ProcessId}"),
        ])
        .AddTelemetrySdk().AddEnvironmentVariableDetector();
}

/// <summary>Logs that telemetry is on and when the collector refuses it, and ends the export: a stopping host waits for the collector at most 2 s for each signal.</summary>
sealed partial class TelemetryExport(
    TelemetrySettings settings, TimeProvider clock, ILogger<TelemetryExport> logger, TracerProvider? traces = null, MeterProvider? metrics = null)
    : EventListener, IHostedService
{
    const int ShutdownMs = 2_000;

    /// <summary>An absent collector fails every few seconds; one line in this time is enough.</summary>
    static readonly TimeSpan WarningEvery = TimeSpan.FromMinutes(5);

    readonly Lock gate = new();
    long? lastWarning;

    public Task StartAsync(CancellationToken cancellationToken)
    {
        LogEnabled(logger, settings.Traces ? settings.Metrics ? "Traces and metrics" : "Traces" : "Metrics");
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>The container disposes this before the providers, which would wait 5 s each. By then the engine has stopped, so its last spans are there.</summary>
    public override void Dispose()
    {
        traces?.Shutdown(ShutdownMs);
        metrics?.Shutdown(ShutdownMs);
        base.Dispose();
    }

    /// <summary>The exporter reports failures as events of this source and nowhere else.</summary>
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
            if (lastWarning is { } last && clock.GetElapsedTime(last) < WarningEvery)
            {
                return;
            }
            lastWarning = clock.GetTimestamp();
        }
        // The payload may hold addresses and a server's answer; only the event's name is safe to log.
        LogExportFailed(logger, eventData.EventName ?? "unknown");
    }

    [LoggerMessage(1, LogLevel.Information, "{Signals} are sent to the OTLP endpoint that the environment names")]
    static partial void LogEnabled(ILogger logger, string signals);

    [LoggerMessage(2, LogLevel.Warning, "The OTLP endpoint did not take what the host sent ({Event}). The host drops what exceeds its buffer; check the endpoint")]
    static partial void LogExportFailed(ILogger logger, string @event);
}
