using System.Net;
using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>Groups of contract D over HTTP: their creation, members, and messages. The tenant's user <c>local</c> has every role, <c>ann</c> what a spec says.</summary>
public sealed class GroupSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task A_group_is_created_with_its_session_and_shown()
    {
        var created = (await http.Post("/groups", """{"title":"Q2 report"}""")).Is(201);
        Assert.Equal("active", created["status"]);
        Assert.Equal(created["group_id"]["grp_".Length..], created["session_id"]["sess_".Length..]);
        Assert.Equal($"/groups/{created["group_id"]}", created.Headers.Location?.ToString());
        var shown = (await http.Get($"/groups/{created["group_id"]}")).Is(200);
        Assert.Equal(("Q2 report", tenant.Org, "local", "False"), (shown["title"], shown["org_id"], shown["created_by"], shown["is_private"]));
        Assert.Equal(["assistant"], shown.Json.GetProperty("agents").EnumerateArray().Select(agent => agent.GetProperty("nickname").GetString()));
        Assert.Equal("admin", shown.Json.GetProperty("members")[0].GetProperty("role").GetString());
        Assert.Contains(created["group_id"], await Listed(http, "/groups"));
        await Archive(created["group_id"]);
    }

    [Fact]
    public async Task In_local_mode_the_organisation_is_kept_as_it_is_given()
    {
        await using var host = await LiveHost.Start();
        for (var i = 0; i < Limits.ActiveGroupsMax; i++)
        {
            (await host.Http.Post("/groups", """{"title":"x","org_id":"Acme & Co."}""")).Is(201);
        }
        (await host.Http.Post("/groups", """{"title":"x","org_id":"Acme & Co."}""")).IsProblem(429, "active_group_limit_exceeded");
        var other = (await host.Http.Post("/groups", """{"title":"x","org_id":"acme"}""")).Is(201);
        Assert.Equal("acme", (await host.Http.Get($"/groups/{other["group_id"]}")).Is(200)["org_id"]);
        (await host.Http.Post($"/groups/{other["group_id"]}/archive", "{}")).Is(200);
    }

    [Fact]
    public async Task A_request_that_is_repeated_under_its_key_makes_one_group()
    {
        var key = ("Idempotency-Key", "group-1");
        var first = (await http.Post("/groups", """{"title":"once"}""", key)).Is(201);
        var again = (await http.Post("/groups", """{"title":"once"}""", key)).Is(201);
        Assert.Equal(first["group_id"], again["group_id"]);
        Assert.Equal(["true"], again.Headers.GetValues("Idempotency-Replayed"));
        (await http.Post("/groups", """{"title":"twice"}""", key)).IsProblem(422, "idempotency_key_reused");
        await Archive(first["group_id"]);
    }

    [Fact]
    public async Task An_organisation_has_25_active_groups_and_no_more_whoever_asks_at_once_on_two_hosts()
    {
        await using var one = await LiveHost.Start(settings => settings with { TokenMode = true });
        await using var other = await LiveHost.Start(settings => settings with { TokenMode = true, Database = one.Database });
        var token = await one.Token("crowd", "member", "admin");
        using var here = one.Client(token);
        (await here.Post("/groups", """{"title":"x","org_id":"another"}""")).IsProblem(403, "foreign_org");
        using var there = other.Client(token);
        var asked = await Task.WhenAll(Enumerable.Range(0, 100).Select(async i =>
        {
            var to = i % 2 == 0 ? here : there;
            while (true)
            {
                // A repeat under its key makes no second group.
                var got = await to.Post("/groups", $$"""{"title":"group {{i}}","org_id":"crowd"}""", ("Idempotency-Key", $"race-{i}"));
                if (got.Code != "stream_busy")
                {
                    return got;
                }
            }
        }));
        Assert.Equal(Limits.ActiveGroupsMax, asked.Count(got => got.Status == HttpStatusCode.Created));
        Assert.All(asked.Where(got => got.Status != HttpStatusCode.Created), got => got.IsProblem(429, "active_group_limit_exceeded"));
        Assert.Equal(Limits.ActiveGroupsMax, (await there.Get("/groups")).Is(200).Json.GetProperty("total").GetInt32());
        // One that is archived makes room for one.
        var archived = asked.First(got => got.Status == HttpStatusCode.Created)["group_id"];
        (await there.Post($"/groups/{archived}/archive", "{}")).Is(200);
        (await here.Post("/groups", """{"title":"next"}""")).Is(201);
        (await there.Post("/groups", """{"title":"too many"}""")).IsProblem(429, "active_group_limit_exceeded");
    }

    [Fact]
    public async Task Anyone_of_the_organisation_joins_a_public_group_and_leaves_it()
    {
        using var ann = await tenant.Client("member");
        var group = (await http.Post("/groups", """{"title":"open"}""")).Is(201)["group_id"];
        Assert.DoesNotContain(group, await Listed(ann, "/groups"));
        Assert.Contains(group, await Listed(ann, "/groups?scope=public"));
        (await ann.Post($"/groups/{group}/messages", """{"text":"Hello"}""")).IsProblem(403, "not_a_member");
        (await ann.Post($"/groups/{group}/members", """{"user_id":"bob"}""")).IsProblem(403, "group_admin_required");
        (await ann.Post($"/groups/{group}/members", """{"role":"admin"}""")).IsProblem(403, "group_admin_required");
        var key = ("Idempotency-Key", "join-1");
        var joined = (await ann.Post($"/groups/{group}/members", "", key)).Is(201);
        Assert.Equal(("ann", "member"), (joined["user_id"], joined["role"]));
        Assert.Equal(joined["joined_at"], (await ann.Post($"/groups/{group}/members", "", key)).Is(201)["joined_at"]);
        Assert.Equal(joined["joined_at"], (await ann.Get(joined.Headers.Location!.ToString())).Is(200)["joined_at"]);
        Assert.Contains(group, await Listed(ann, "/groups"));
        Assert.Equal(
            ["local", "ann"],
            (await ann.Get($"/groups/{group}/members")).Is(200).Json.GetProperty("members").EnumerateArray().Select(member => member.GetProperty("user_id").GetString()));
        (await ann.Post($"/groups/{group}/messages", """{"text":"Hello"}""")).Is(202);
        (await ann.Delete($"/groups/{group}/members/local")).IsProblem(403, "group_admin_required");
        (await ann.Delete($"/groups/{group}/members/ann")).Is(204);
        (await ann.Get($"/groups/{group}/members/ann")).IsProblem(404, "not_found");
        (await ann.Delete($"/groups/{group}/members/ann")).IsProblem(404, "not_found");
        Assert.DoesNotContain(group, await Listed(ann, "/groups"));
        await Archive(group);
    }

    [Fact]
    public async Task A_private_group_is_not_there_for_who_is_no_member_of_it()
    {
        using var ann = await tenant.Client("member");
        var group = (await http.Post("/groups", """{"title":"closed","is_private":true}""")).Is(201)["group_id"];
        await NotThere();
        (await http.Post($"/groups/{group}/members", """{"user_id":"ann","role":"admin"}""")).Is(201);
        Assert.Equal("closed", (await ann.Get($"/groups/{group}")).Is(200)["title"]);
        (await ann.Post($"/groups/{group}/members", """{"user_id":"bob"}""")).Is(201);
        // The creator leaves, because ann administers the group; ann does not, because bob would be alone.
        (await http.Delete($"/groups/{group}/members/local")).Is(204);
        (await ann.Delete($"/groups/{group}/members/ann")).IsProblem(409, "last_group_admin");
        (await ann.Delete($"/groups/{group}/members/bob")).Is(204);
        (await ann.Delete($"/groups/{group}/members/ann")).Is(204);
        await NotThere();
        // Who administers the organisation still finds it.
        Assert.Contains(group, await Listed(http, "/groups?scope=all"));
        await Archive(group);

        async Task NotThere()
        {
            foreach (var (method, path, body) in ((HttpMethod, string, string?)[])
            [
                (HttpMethod.Get, "", null), (HttpMethod.Get, "/members", null), (HttpMethod.Get, "/members/local", null), (HttpMethod.Post, "/members", "{}"),
                (HttpMethod.Post, "/members", """{"user_id":"bob"}"""), (HttpMethod.Delete, "/members/local", null), (HttpMethod.Delete, "/members/ann", null),
                (HttpMethod.Post, "/messages", """{"text":"Hello"}"""), (HttpMethod.Post, "/messages", """{"text":"Hello","agent_ids":["nobody"]}"""),
            ])
            {
                (await ann.Send(method, $"/groups/{group}{path}", body)).IsProblem(404, "not_found");
            }
            foreach (var scope in (string[])["mine", "public"])
            {
                Assert.DoesNotContain(group, await Listed(ann, $"/groups?scope={scope}"));
            }
            (await ann.Get("/groups?scope=all")).IsProblem(403, "role_missing");
        }
    }

    [Fact]
    public async Task A_message_is_stored_once_and_answered_by_the_agent()
    {
        var group = (await http.Post("/groups", """{"title":"talk"}""")).Is(201);
        var first = (await http.Post($"/groups/{group["group_id"]}/messages", """{"text":"/say Hello, @local","message_id":"m-1"}""")).Is(202);
        Assert.Equal(("m-1", "local", "False"), (first["message_id"], first["user_id"], first["repeated"]));
        var run = first.Json.GetProperty("runs")[0].GetProperty("run_id").GetString()!;
        Assert.Equal("assistant", first.Json.GetProperty("runs")[0].GetProperty("agent_id").GetString());
        var again = (await http.Post($"/groups/{group["group_id"]}/messages", """{"text":"/say Hello, @local","message_id":"m-1"}""")).Is(202);
        Assert.Equal((first["event_id"], first["seq"], "True", run), (again["event_id"], again["seq"], again["repeated"], again.Json.GetProperty("runs")[0].GetProperty("run_id").GetString()));
        (await http.Post($"/groups/{group["group_id"]}/messages", """{"text":"Bye","message_id":"m-1"}""")).IsProblem(422, "idempotency_key_reused");
        var key = ("Idempotency-Key", "say-1");
        var keyed = (await http.Post($"/groups/{group["group_id"]}/messages", """{"text":"/say two"}""", key)).Is(202);
        var repeated = (await http.Post($"/groups/{group["group_id"]}/messages", """{"text":"/say two"}""", key)).Is(202);
        Assert.Equal((keyed["event_id"], keyed["message_id"]), (repeated["event_id"], repeated["message_id"]));
        Assert.Equal(["true"], repeated.Headers.GetValues("Idempotency-Replayed"));
        var events = await Feed(group["session_id"], "group_agent_answered", 2);
        Assert.Equal(2, events.Count(e => e.Type == "group_message_stored"));
        Assert.Equal(first["event_id"], events.First(e => e.Type == "group_message_stored").Id.ToString(System.Globalization.CultureInfo.InvariantCulture));
        Assert.Equal("1", first["seq"]);
        Assert.Equal("user_message_stored", (await http.Get($"/groups/{group["group_id"]}/messages?since=0&limit=1")).Is(200).Json.GetProperty("messages")[0].GetProperty("type").GetString());
        Assert.Equal("Hello, @local", (await http.Get($"/runs/{run}")).Is(200)["reply"]);
        await Archive(group["group_id"]);
    }

    [Fact]
    public async Task Agents_are_configured_and_address_each_other()
    {
        await using var host = await LiveHost.Start(settings => settings with
        {
            Agents = [new("writer", "Writer", Instructions: "Write."), new("critic", "critic", Tools: ["read_file"])],
        });
        (await host.Http.Post("/groups", """{"title":"x","agent_ids":["writer","nobody"]}""")).IsProblem(422, "unknown_agent");
        var group = (await host.Http.Post("/groups", """{"title":"x","agent_ids":["writer","critic"]}""")).Is(201);
        var posted = (await host.Http.Post($"/groups/{group["group_id"]}/messages", """{"text":"/say Look at it, @critic.","agent_ids":["writer"]}""")).Is(202);
        Assert.Equal("writer", posted.Json.GetProperty("runs")[0].GetProperty("agent_id").GetString());
        var events = await Feed(host.Http, group["session_id"], "group_agent_answered", 2);
        var created = events.Where(e => e.Type == "run_created").Select(e => e.Payload.GetProperty("agent")).ToList();
        Assert.Equal(["writer 0", "critic 1"], created.Select(agent => $"{agent.GetProperty("id").GetString()} {agent.GetProperty("depth").GetInt32()}"));
        Assert.Equal(posted["message_id"], created[1].GetProperty("message_id").GetString());
        (await host.Http.Post($"/groups/{group["group_id"]}/messages", """{"text":"x","agent_ids":["assistant"]}""")).IsProblem(422, "unknown_agent");
    }

    [Fact]
    public async Task Every_tool_that_an_agent_may_name_is_there() =>
        Assert.Equal(
            Toolbox.HostNames,
            (await http.Get("/tools")).Is(200).Json.GetProperty("tools").EnumerateArray().Select(tool => tool.GetProperty("name").GetString()!)
                .Where(name => !OutsideToolNames.IsOne(name)).Order(StringComparer.Ordinal));

    /// <summary>Archives a group, so that no spec comes near the limit of active ones.</summary>
    async Task Archive(string group) => (await http.Post($"/groups/{group}/archive", "{}")).Is(200);

    static async Task<List<string?>> Listed(HttpClient caller, string path) =>
        [.. (await caller.Get(path)).Is(200).Json.GetProperty("groups").EnumerateArray().Select(group => group.GetProperty("group_id").GetString())];

    Task<List<(long Id, string Type, JsonElement Payload)>> Feed(string session, string type, int count) => Feed(http, session, type, count);

    /// <summary>Waits until the feed has so many events of a type, and answers all that it has then.</summary>
    static async Task<List<(long Id, string Type, JsonElement Payload)>> Feed(HttpClient caller, string session, string type, int count)
    {
        var found = new List<(long Id, string Type, JsonElement Payload)>();
        if (count > 0)
        {
            await Patience.Until(
                async () =>
                {
                    var since = found.Count == 0 ? 0 : found[^1].Id;
                    var page = (await caller.Get($"/sessions/{session}/events?since_id={since}&wait_seconds=5")).Is(200);
                    found.AddRange(page.Json.GetProperty("events").EnumerateArray()
                        .Select(e => (e.GetProperty("id").GetInt64(), e.GetProperty("type").GetString()!, e.GetProperty("payload"))));
                    return found.Count(e => e.Type == type) >= count;
                },
                () => string.Join(", ", found.Select(e => e.Type)), $"{count} events {type} are there");
        }
        return found;
    }
}
