using System.Net;
using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Projections;
using Cowork.Testing;
using Microsoft.Extensions.DependencyInjection;
using Wolverine.Runtime;
using Wolverine.Runtime.Handlers;

namespace Cowork.Web.Tests;

/// <summary>What Wolverine does in a host: jobs that are given up, its addresses, commands as messages.</summary>
public sealed class WolverineSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient shared = tenant.Http;

    static readonly Origin Test = new("test");

    [Fact]
    public async Task A_turn_is_taken_approved_and_done_and_an_approval_that_nobody_gives_expires()
    {
        await using var host = await Start(settings => settings with { Approvals = new() { ExpireAfter = Patience.Stretched(TimeSpan.FromSeconds(2)) } });
        Assert.Equal("marten", (await host.Http.Get("/health/ready")).Is(200)["engine"]);
        var session = (await host.Http.Post("/sessions")).Is(201);
        Assert.Equal("completed", (await host.Http.Turn(session["session_id"], "/say hello")).Is(200)["status"]);

        const string Write = "/tool write_file {\"path\":\"report.md\",\"content\":\"hello\"}\n/say done";
        var turn = (await host.Http.Turn(session["session_id"], Write)).Is(200);
        (await host.Http.Post($"/approvals/{turn.Json.GetProperty("pending_approval_ids")[0].GetString()}/decision", """{"approved":true}""")).Is(200);
        await host.Http.Until($"/runs/{turn["run_id"]}", run => run["status"] == "completed");
        Assert.Equal("hello", await File.ReadAllTextAsync(Path.Combine(session["workspace_path"], "report.md")));

        var late = (await host.Http.Turn(session["session_id"], Write)).Is(200);
        var approval = late.Json.GetProperty("pending_approval_ids")[0].GetString();
        await host.Http.Until($"/approvals/{approval}", got => got["status"] == "expired");
    }

    [Fact]
    public async Task Jobs_that_nobody_can_do_are_dead_letters_that_are_listed_replayed_and_forgotten()
    {
        await using var host = await Start();
        await GiveUp(host, "default", "1");
        var dead = await Single(host.Http);
        var path = $"/engine/dead-letters/{dead.GetProperty("id").GetString()}";
        Assert.Equal(
            ["id", "org_id", "kind", "key", "exception", "message", "attempts", "sent_at"], (await host.Http.Get(path)).Is(200).Json.EnumerateObject().Select(m => m.Name));
        Assert.Equal(("default", "nobody_does_it", "1"), (dead.GetProperty("org_id").GetString(), dead.GetProperty("kind").GetString(), dead.GetProperty("key").GetString()));

        var replayed = await host.Http.Post("/engine/dead-letters/replay", $$"""{"ids":["{{dead.GetProperty("id").GetString()}}","00000000-0000-0000-0000-000000000001"]}""");
        Assert.Equal("1", replayed.Is(200)["count"]);
        // It is tried again, fails again, and is a dead letter again, with another id.
        await host.Http.Until(path, got => got.Status == HttpStatusCode.NotFound);
        path = $"/engine/dead-letters/{(await Single(host.Http)).GetProperty("id").GetString()}";
        (await host.Http.Delete(path)).Is(204);
        (await host.Http.Delete(path)).IsProblem(404, "not_found");
        (await host.Http.Get(path)).IsProblem(404, "not_found");
        Assert.Empty((await host.Http.Get("/engine/dead-letters")).Is(200).Json.GetProperty("dead_letters").EnumerateArray());
    }

    [Theory]
    [InlineData("""{"ids":["00000000-0000-0000-0000-000000000001","no id"]}""", "application/json", 422, "$.ids[1]")]
    [InlineData("""{"ids":[null]}""", "application/json", 422, "$.ids[0]")]
    [InlineData("""{"ids":"x"}""", "application/json", 422, "$.ids")]
    [InlineData("""{"id":"x"}""", "application/json", 422, "$.ids")]
    [InlineData("[]", "application/json", 422, "$")]
    [InlineData("null", "application/json", 422, "$")]
    [InlineData("""{"ids":""", "application/json", 400, null)]
    [InlineData("", "application/json", 400, null)]
    [InlineData("ids", "text/plain", 415, null)]
    public async Task What_is_no_list_of_ids_is_refused_with_a_problem(string body, string type, int status, string? place)
    {
        var refused = await shared.Send(HttpMethod.Post, "/engine/dead-letters/replay", System.Text.Encoding.UTF8.GetBytes(body), type);
        refused.IsProblem(status, status == 422 ? "invalid_request" : null);
        Assert.True(place is null || refused.Json.GetProperty("errors").TryGetProperty(place, out _), refused.Text);
        (await shared.Get("/engine/dead-letters/no-id")).IsProblem(404, "not_found");
        (await shared.Delete("/engine/dead-letters/no-id")).IsProblem(404, "not_found");
    }

    [Fact]
    public async Task Whatever_a_client_accepts_it_gets_json()
    {
        var replayed = await shared.Post("/engine/dead-letters/replay", """{"ids":["00000000-0000-0000-0000-000000000001"]}""", ("Accept", "text/html"));
        Assert.Equal("0", replayed.Is(200)["count"]);
        (await shared.Get("/engine/dead-letters", ("Accept", "text/html"))).Is(200);
    }

    [Fact]
    public async Task Administrators_see_the_dead_letters_of_their_tenant_and_the_operator_all()
    {
        await using var host = await Start(settings => settings with { TokenMode = true });
        await GiveUp(host, "acme", "1");
        using var admin = host.Client(host.AdminToken);
        using var acme = host.Client(await host.Token("acme", "admin"));
        using var globex = host.Client(await host.Token("globex", "admin"));
        using var member = host.Client(await host.Token("acme", "member"));
        var id = (await Single(acme)).GetProperty("id").GetString();
        Assert.Equal(id, (await Single(admin)).GetProperty("id").GetString());
        Assert.Empty((await globex.Get("/engine/dead-letters")).Is(200).Json.GetProperty("dead_letters").EnumerateArray());
        foreach (var (http, total) in ((HttpClient, string)[])[(acme, "1"), (admin, "1"), (globex, "0")])
        {
            Assert.Equal(total, (await http.Get("/engine/dead-letters")).Is(200)["total"]);
        }
        Assert.Equal(id, (await acme.Get("/engine/dead-letters?kind=nobody_does_it&key=1")).Is(200).Json.GetProperty("dead_letters")[0].GetProperty("id").GetString());
        foreach (var (which, status) in ((string, int)[])
            [("kind=run", 200), ("key=2", 200), ("run_id=run_01jdx3f2k0000000000000000a", 200), ("run_id=s1", 404), ("run_id=run_01jdx3f2k0000000000000000a&key=1", 422), ("key=", 422)])
        {
            var some = (await acme.Get($"/engine/dead-letters?{which}")).Is(status);
            Assert.True(status != 200 || some["total"] == "0", which);
        }
        foreach (var (http, count) in ((HttpClient, string)[])[(acme, "1"), (admin, "1"), (globex, "0")])
        {
            var problems = (await http.Get("/engine/problems")).Is(200);
            Assert.Equal((count, "[]"), (problems["dead_letters"], problems.Json.GetProperty("parked").GetRawText()));
        }
        (await member.Get("/engine/problems")).IsProblem(403, "role_missing");
        Assert.Contains("dead letter", (await globex.Get($"/engine/dead-letters/{id}")).IsProblem(404, "not_found")["detail"]);
        (await globex.Delete($"/engine/dead-letters/{id}")).IsProblem(404);
        Assert.Equal("0", (await globex.Post("/engine/dead-letters/replay", $$"""{"ids":["{{id}}"]}""")).Is(200)["count"]);
        (await member.Get("/engine/dead-letters")).IsProblem(403, "role_missing");
        (await host.Http.Get("/engine/dead-letters")).IsProblem(401);
        (await acme.Delete($"/engine/dead-letters/{id}")).Is(204);
    }

    [Fact]
    public async Task The_hosts_on_the_database_are_listed()
    {
        await using var host = await Start();
        var nodes = await host.Http.Until("/engine/nodes", got => got.Json.GetProperty("nodes").GetArrayLength() == 1);
        Assert.True(nodes.Json.GetProperty("nodes")[0].GetProperty("is_answering").GetBoolean());
    }

    [Fact]
    public async Task Every_command_and_job_has_a_handler_whose_code_the_build_wrote()
    {
        await using var host = await Start();
        var runtime = host.Services.GetRequiredService<IWolverineRuntime>();
        var written = runtime.Options.CodeGeneration.ApplicationAssembly.GetExportedTypes().Select(t => t.Name).ToHashSet();
        var handled = host.Services.GetRequiredService<HandlerGraph>().Chains.Where(chain => written.Contains(chain.TypeName)).Select(chain => chain.MessageType).ToHashSet();
        Assert.Empty(WolverineConfiguration.MessageTypes.Except(handled));
        Assert.Contains(typeof(Execute<SubmitTurn>), handled);
        Assert.DoesNotContain(AppDomain.CurrentDomain.GetAssemblies(), a => a.GetName().Name == "JasperFx.RuntimeCompiler");
    }

    [Fact]
    public async Task A_command_goes_over_the_bus_to_its_tenant_and_back_with_its_refusal()
    {
        await using var host = await Start();
        var (known, commands) = (host.Services.GetRequiredService<CommandHandler>(), host.Services.GetRequiredService<ICommandExecutor>());
        Assert.Null((await commands.Execute("left", Test, new IssueToken(new("01"), "first", "ann", ["member"], "00"), default)).Refused);
        Assert.IsType<ApiToken.Valid>(await known.State("left", ApiToken.Aggregate, new TokenKey("01"), default));
        Assert.IsNotType<ApiToken.Valid>(await known.State("right", ApiToken.Aggregate, new TokenKey("01"), default));
        Assert.Equal(404, (await commands.Execute("right", Test, new RevokeToken(new("01")), default)).Refused?.Status);
    }

    [Fact]
    public async Task A_command_comes_back_with_the_rows_of_its_commit_and_its_events_are_in_the_trace_of_who_asked()
    {
        await using var host = await Start();
        using var listener = new System.Diagnostics.ActivityListener
        {
            ShouldListenTo = source => source.Name == "Cowork",
            Sample = (ref System.Diagnostics.ActivityCreationOptions<System.Diagnostics.ActivityContext> _) => System.Diagnostics.ActivitySamplingResult.AllDataAndRecorded,
        };
        System.Diagnostics.ActivitySource.AddActivityListener(listener);
        var activity = new System.Diagnostics.Activity("request").Start();
        var result = await host.Services.GetRequiredService<ICommandExecutor>().Execute("default", Test, new IssueToken(new("01"), "first", "ann", ["member"], "00"), default);
        activity.Stop();
        var issued = result.On("token-01");
        Assert.Equal((0, 1, "first"), (issued.Before, issued.Version, issued.Row(Tokens.Model).Name));
        var log = await host.Services.GetRequiredService<IEventLog>().Load("default", "token-01", 0, 1, default);
        Assert.Equal(activity.TraceId.ToHexString(), log.Events.Single().Correlation);
    }

    [Fact]
    public async Task A_command_that_is_called_off_says_so()
    {
        await using var host = await Start();
        using var off = new CancellationTokenSource();
        await off.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
            await host.Services.GetRequiredService<ICommandExecutor>().Execute("default", Test, new IssueToken(new("01"), "first", "ann", ["member"], "00"), off.Token));
    }

    static Task<LiveHost> Start(Func<HostSettings, HostSettings>? change = null) => LiveHost.Start(settings =>
        (change?.Invoke(settings) ?? settings) with { JobRetries = [TimeSpan.FromMilliseconds(100)] });

    /// <summary>Commits a job of a kind that this host has nobody for.</summary>
    static async Task GiveUp(LiveHost host, string org, string key) =>
        Assert.IsType<AppendResult.Ok>(await host.Services.GetRequiredService<IEventLog>().Append(new(org, [], [new("nobody_does_it", key)], null, Test), default));

    static async Task<System.Text.Json.JsonElement> Single(HttpClient http) =>
        (await http.Until("/engine/dead-letters", got => got.Json.GetProperty("dead_letters").GetArrayLength() == 1)).Json.GetProperty("dead_letters")[0];
}
