using System.Text;
using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>What was accepted once stays used, and what was signed stays signed, when a host is killed.</summary>
public sealed class TrustKillSpecs : DirectorySpecs
{
    [Fact]
    public async Task A_request_that_was_accepted_is_refused_after_a_kill_and_a_restart()
    {
        var database = await TestPostgres.NewDatabase();
        var host = await HostProcess.Start(Data, database);
        try
        {
            using var app = await RequestSigner.App(host.Http, "desk");
            var group = (await host.Http.Post("/groups", """{"title":"t"}""")).Is(201)["group_id"];
            var body = $$"""{"group_id":"{{group}}","org_id":"default","user_id":"local"}""";
            var port = new Uri(host.Url).Port;
            var signed = app.Sign(host.Http, "/infra/groups", body);
            var opened = (await host.Http.Send(signed.Method, signed.Path, signed.Body, signed.Headers)).Is(201);
            var keys = (await host.Http.Get("/infra/jwks.json")).Is(200).Text;
            await host.Kill();
            await host.DisposeAsync();
            host = await HostProcess.Start(Data, database, port);
            (await host.Http.Send(signed.Method, signed.Path, signed.Body, signed.Headers)).IsProblem(401, "token_replayed");
            Assert.Equal(keys, (await host.Http.Get("/infra/jwks.json")).Is(200).Text);
            // The session's certificate is as good as before.
            using var controller = RequestSigner.Controller(opened, "orchestrator");
            (await controller.Send(host.Http, "/infra/cleanup", $$"""{"group_id":"{{group}}"}""")).Is(200);
            Assert.Equal(0, await host.Stop());
        }
        finally
        {
            await host.DisposeAsync();
        }
    }

    /// <summary>Killed before the run is there, before its stream begins, or amid its results: who asks the other host under the same key has the one run, from where it was on.</summary>
    [Fact]
    public async Task What_a_controller_asked_for_goes_on_at_another_host_once()
    {
        var database = await TestPostgres.NewDatabase();
        (string, string)[] shared = [("COWORK_MASTER_KEY", Convert.ToBase64String(Encoding.ASCII.GetBytes("0123456789abcdef0123456789abcdef"))), .. Shared];
        await using var other = await HostProcess.Start(Path.Combine(Data, "other"), database, environment: shared);
        using var app = await RequestSigner.App(other.Http, "desk");
        var group = (await other.Http.Post("/groups", """{"title":"t"}""")).Is(201)["group_id"];
        var opened = (await app.Send(other.Http, "/infra/groups", $$"""{"group_id":"{{group}}","org_id":"default","user_id":"local"}""")).Is(201);
        using var controller = RequestSigner.Controller(opened, "agents");
        var says = string.Join(' ', Enumerable.Range(0, 300).Select(word => $"word{word}"));
        var body = JsonSerializer.Serialize(new
        {
            agent_id = "assistant",
            messages = (object[])[new { role = "user", content = $"/tool list_files {{}}\n/sleep 300\n/say {says}" }],
        });
        var runs = new HashSet<string>();
        foreach (var (nr, seed) in Seeds.Many(ordinary: 2, chaos: 20).Index())
        {
            var random = new Random(seed);
            var (path, isAmidResults) = (nr % 4 is 0 or 3 ? "/agents/run-stream" : "/agents/run", nr % 2 == 0);
            var key = ("Idempotency-Key", $"asked-{seed}");
            await using var dying = await HostProcess.Start(Path.Combine(Data, $"dying-{seed}"), database, environment: shared);
            var seen = new List<JsonElement>();
            if (isAmidResults)
            {
                using var stream = await AgentStream.Open(dying.Http, controller, path, body, request => request.More.Add(key));
                seen.AddRange(await stream.Until(result => result.GetProperty("type").GetString() == "tool_result"));
                await dying.Kill();
                seen.AddRange(await stream.UntilEnd());
            }
            else
            {
                var asked = AgentStream.Open(dying.Http, controller, path, body, request => request.More.Add(key));
                await Task.Delay(random.Next(200));
                await dying.Kill();
                try
                {
                    using var stream = await asked;
                    seen.AddRange(await stream.UntilEnd());
                }
                catch (HttpRequestException)
                {
                    // It died before it answered.
                }
            }
            using var again = await AgentStream.Open(other.Http, controller, $"{path}?after={seen.Count}", body, request => request.More.Add(key));
            seen.AddRange(await again.UntilEnd());
            Assert.Equal(Enumerable.Range(1, seen.Count), seen.Select(result => result.GetProperty("id").GetInt32()));
            Assert.Equal(("final", "completed", says), (Text(seen[^1], "type"), Text(seen[^1], "status"), Text(seen[^1], "text")));
            Assert.Single(seen, result => Text(result, "type") == "final");
            Assert.Single(seen.Select(result => Text(result, "run_id")).Distinct());
            Assert.True(runs.Add(Text(seen[0], "run_id")));
        }
        var session = $"sess_{group["grp_".Length..]}";
        var events = new List<JsonElement>();
        while (await other.Http.Events(session, events.Count) is { Count: > 0 } page)
        {
            events.AddRange(page);
        }
        Assert.Equal(runs.Count, events.Count(e => Text(e, "type") == "run_created"));
        Assert.Equal(0, await other.Stop());
        await Ledger.Check(database, runs);

        static string Text(JsonElement of, string member) => of.GetProperty(member).ToString();
    }
}
