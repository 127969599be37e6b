using System.Net;
using System.Net.Sockets;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>A trace outlives the host that began it, and hosts do without a collector that is away.</summary>
public sealed class TelemetryKillSpecs : DirectorySpecs
{
    const string Request = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const string TraceId = "0af7651916cd43dd8448eb211c80319c";


    [Fact]
    public async Task A_run_whose_host_is_killed_goes_on_elsewhere_in_the_same_trace()
    {
        await using var collector = await Collector.Start();
        await using var provider = new ModelServer()
            .ThenStream(
                """{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"list_files","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}""", "[DONE]")
            .Then(e => e.Gone())
            .ThenStream("""{"choices":[{"index":0,"delta":{"content":"done"},"finish_reason":"stop"}]}""", "[DONE]");
        var database = await TestPostgres.NewDatabase();
        (string, string)[] shared =
        [
            .. collector.Environment(), .. Shared,
            ("Cowork__Models__m__Provider", "openai"), ("Cowork__Models__m__BaseUrl", $"{provider.Url}"), ("Cowork__Models__m__Key", "sk-1"), ("Cowork__Memory__Notes", "extract"),
        ];
        await using var first = await HostProcess.Start(Path.Combine(Data, "a"), database, environment: [.. shared, ("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=a")]);
        await first.Http.NewSession("moved");
        var run = (await first.Http.Post(
            "/sessions/moved/turn", """{"message":"what is there?","wait_for_completion":false}""", ("traceparent", Request))).Is(202)["run_id"];
        var before = await collector.Trace(TraceId, s => s.Any(x => x.Name == "execute_tool list_files"));
        // The second question is asked when the call's outcome is recorded.
        await provider.NextRequest();
        await provider.NextRequest();
        await first.Kill();
        await using var second = await HostProcess.Start(Path.Combine(Data, "b"), database, environment: [.. shared, ("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=b")]);
        var ended = await second.Http.Until($"/runs/{run}", got => got["status"] == "completed");
        Assert.Equal("2", ended["attempt"]);
        var spans = await collector.Trace(TraceId, s => s.Any(x => x.Name == "run" && x["cowork.run.outcome"] == "completed"));
        // The first host died before it could tell of its own part of the run; its parent is the request's command all the same.
        var command = Assert.Single(before, s => s.Name == "command SubmitTurn").SpanId;
        Assert.All(spans.Where(s => s.Name == "run"), run => Assert.Equal(command, run.ParentId));
        Assert.Single(spans, s => s.Name == "execute_tool list_files");
        var events = (await second.Http.Events("moved")).Where(e => e.GetProperty("run_id").GetString() == run).ToList();
        Assert.Contains("run_resumed", events.Select(e => e.GetProperty("type").GetString()));
        Assert.All(events, e => Assert.Equal(TraceId, e.GetProperty("correlation_id").GetString()));
    }

    [Fact]
    public async Task A_collector_that_is_not_there_harms_nothing()
    {
        using var closed = new TcpListener(IPAddress.Loopback, 0);
        closed.Start();
        var port = ((IPEndPoint)closed.LocalEndpoint).Port;
        closed.Stop();
        await using var host = await HostProcess.Start(
            Data, await TestPostgres.NewDatabase(), environment:
            [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", $"http://127.0.0.1:{port}"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), ("OTEL_BSP_SCHEDULE_DELAY", "20"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "50"),
            ]);
        await host.Http.NewSession("alone");
        await Patience.Until(() => host.Output.Contains("did not take", StringComparison.Ordinal), () => host.Output);
        for (var i = 0; i < 50; i++)
        {
            Assert.Equal("completed", (await host.Http.Turn("alone", "/say there")).Is(200)["status"]);
        }
        Assert.Single(host.Output.Split('\n'), line => line.Contains("did not take", StringComparison.Ordinal));
        Assert.DoesNotContain("fail:", host.Output);
        Assert.Equal(0, await host.Stop());
    }

    [Fact]
    public async Task A_collector_that_never_answers_holds_nobody_up()
    {
        using var deaf = new TcpListener(IPAddress.Loopback, 0);
        deaf.Start();
        await using var host = await HostProcess.Start(
            Data, await TestPostgres.NewDatabase(), environment: [("OTEL_EXPORTER_OTLP_ENDPOINT", $"http://{deaf.LocalEndpoint}"), ("OTEL_BSP_SCHEDULE_DELAY", "20")]);
        await host.Http.NewSession("deaf");
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal("completed", (await host.Http.Turn("deaf", "/say there")).Is(200)["status"]);
        }
        Assert.Equal(0, await host.Stop());
    }
}
