using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Two hosts on one database that drive five runs each; a tenant has filled its share of both with runs that sleep.</summary>
public sealed class FilledHosts : IAsyncLifetime
{
    public const int Share = 4;

    public LiveHost One { get; private set; } = null!;

    public LiveHost Other { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        One = await LiveHost.Start(settings => settings with { TokenMode = true, Runs = new() { Parallel = 5 } });
        Other = await LiveHost.Start(settings => settings with { TokenMode = true, Runs = new() { Parallel = 5 }, Database = One.Database });
        using var greedy = One.Client(await One.Token("greedy", "member"));
        for (var i = 0; i < 3 * Share; i++)
        {
            (await greedy.Turn(await greedy.NewSession(), "/sleep 600000", wait: false)).Is(202);
        }
        await greedy.Until("/metrics", got => got.Json.GetProperty("running").GetInt64() == 2 * Share && got.Json.GetProperty("queued").GetInt64() == Share);
    }

    public async ValueTask DisposeAsync()
    {
        await Other.DisposeAsync();
        await One.DisposeAsync();
        await Ledger.CheckLog(One.Database);
    }
}

/// <summary>One tenant's runs do not keep another's from starting.</summary>
public sealed class FairnessSpecs(FilledHosts hosts) : IClassFixture<FilledHosts>
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_first_run_of_an_idle_tenant_starts_at_once_on_every_host(bool elsewhere)
    {
        var host = elsewhere ? hosts.Other : hosts.One;
        using var http = host.Client(await hosts.One.Token(elsewhere ? "quiet-elsewhere" : "quiet", "member"));
        var session = await http.NewSession();
        var turn = (await http.Turn(session, "/say hi")).Is(200);
        Assert.Equal(("completed", "hi"), (turn["status"], turn["reply"]));
        // The commit that accepted the run started it, as on a host with nothing to do.
        Assert.Equal(
            ["session_created", "run_created", "run_queued", "run_started"],
            (await http.Events(session)).Select(e => e.GetProperty("type").GetString()).Take(4));
    }

    [Fact]
    public async Task A_planned_run_of_an_idle_tenant_starts_in_its_time()
    {
        using var http = hosts.One.Client(await hosts.One.Token("planned", "member"));
        var session = await http.NewSession();
        var skill = (await http.Post("/skills", """{"name":"plan","prompt_template":"/say planned"}""")).Is(201)["skill_id"];
        var schedule = (await http.Post(
            "/scheduled-runs", JsonSerializer.Serialize(new { name = "soon", session_id = session, skill_id = skill, interval_seconds = 1 }))).Is(201)["schedule_id"];
        var ledger = await http.Until($"/scheduled-runs/{schedule}/runs", got => Fired(got).Count >= 2);
        (await http.Post($"/scheduled-runs/{schedule}/pause")).Is(200);
        var late = Fired(ledger).Min(line => line.GetProperty("decided_at").GetDateTimeOffset() - line.GetProperty("slot").GetDateTimeOffset());
        // Before the next one is due.
        Assert.True(late < Patience.Stretched(TimeSpan.FromSeconds(1)), $"Late by {late}");
        var run = await http.Until($"/runs/{Fired(ledger)[^1].GetProperty("run_id").GetString()}", got => got["status"] == "completed");
        Assert.Equal("planned", run["reply"]);
    }

    static List<JsonElement> Fired(Got ledger) =>
        [.. ledger.Json.GetProperty("runs").EnumerateArray().Where(line => line.GetProperty("run_id").ValueKind == JsonValueKind.String)];
}
