using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>Groups on hosts that are killed and on several at once: what was answered stays, what was begun goes on, and what comes at the same time is put in one order.</summary>
public sealed class GroupKeepingKillSpecs : DirectorySpecs
{
    string Blobs => Path.Combine(Data, "blobs");

    (string, string)[] OfBoth => [("Cowork__Blobs", Blobs), ("COWORK_MASTER_KEY", Convert.ToBase64String(SHA256.HashData("a key"u8)))];

    Task<HostProcess> Start(string name, string database, params (string, string)[] more) =>
        HostProcess.Start(Path.Combine(Data, name), database, environment: [.. OfBoth, .. more]);

    static async Task<string> NewGroup(HttpClient http) => (await http.Post("/groups", """{"title":"Q2","is_private":true}""")).Is(201)["group_id"];

    static Task<Got> Say(HttpClient http, string group, string text, string? id = null) =>
        http.Post($"/groups/{group}/messages", JsonSerializer.Serialize(new { text, message_id = id }));

    static string RunOf(Got said) => said.Json.GetProperty("runs")[0].GetProperty("run_id").GetString()!;

    static async Task<List<JsonElement>> Messages(HttpClient http, string group)
    {
        var all = new List<JsonElement>();
        while (true)
        {
            var page = (await http.Get($"/groups/{group}/messages?since={all.Count}&limit=1000")).Is(200);
            all.AddRange(page.Json.GetProperty("messages").EnumerateArray());
            if (!page.Json.GetProperty("has_more").GetBoolean())
            {
                return all;
            }
        }
    }

    static string Type(JsonElement message) => message.GetProperty("type").GetString()!;

    [Fact]
    public async Task Killed_in_the_middle_of_an_agents_answer_it_goes_on_and_every_message_stands_once()
    {
        const string Question = "/tool list_files {}\n/say the numbers are in";
        var database = await TestPostgres.NewDatabase();
        await using var first = await Start("a", database);
        var group = await NewGroup(first.Http);
        string run;
        List<JsonElement> before;
        await using (var held = await HeldBack.Begin(database, "NEW.type = 'assistant_reply.v1'"))
        {
            run = RunOf((await Say(first.Http, group, Question, "m-1")).Is(202));
            await held.Caught();
            before = await Messages(first.Http, group);
            await first.Kill();
        }
        Assert.Equal(["user_message_stored", "agent_start", "tool_call", "tool_result"], before.Select(Type));
        await using var second = await Start("a", database);
        await second.Http.Until($"/runs/{run}", got => got["status"] == "completed");
        var after = await Messages(second.Http, group);
        Assert.Equal(before.Select(message => message.ToString()), after.Take(before.Count).Select(message => message.ToString()));
        Assert.Equal(Enumerable.Range(1, after.Count).Select(seq => (long)seq), after.Select(message => message.GetProperty("seq").GetInt64()));
        Assert.Equal("the numbers are in", Assert.Single(after, message => Type(message) == "agent_message").GetProperty("text").GetString());
        Assert.Equal("completed", Assert.Single(after, message => Type(message) == "done").GetProperty("status").GetString());
        // The answer of the request was lost with the host: its repeat stores nothing.
        Assert.Equal("True", (await Say(second.Http, group, Question, "m-1")).Is(202)["repeated"]);
        Assert.Equal(after.Count, (await Messages(second.Http, group)).Count);
        Assert.Equal(0, await second.Stop());
        await Ledger.Check(database, [run]);
    }

    [Theory]
    [InlineData("NEW.type = 'group_archive_requested.v1'", false)]
    [InlineData("NEW.type = 'run_cancelled.v1'", true)]
    [InlineData("NEW.type = 'group_archived.v1'", true)]
    public async Task Killed_between_the_request_the_file_and_the_record_there_is_one_archive_and_one_answer(string at, bool isClosed)
    {
        var database = await TestPostgres.NewDatabase();
        await using var first = await Start("a", database);
        var group = await NewGroup(first.Http);
        RunOf((await Say(first.Http, group, "/sleep 600000\n/say never", "m-1")).Is(202));
        await Patience.Until(async () => (await Messages(first.Http, group)).Select(Type).Contains("agent_start"));
        await using (var held = await HeldBack.Begin(database, at))
        {
            var asked = first.Http.Post($"/groups/{group}/archive", """{"reason":"done"}""");
            await held.Caught();
            await first.Kill();
            await Assert.ThrowsAnyAsync<Exception>(() => asked);
        }
        await using var second = await Start("b", database);
        await using var third = await Start("c", database);
        Assert.Equal(isClosed ? 409 : 202, (int)(await Say(second.Http, group, "/say too late", "m-2")).Status);
        var answers = await Task.WhenAll(Enumerable.Range(0, 6).Select(async i =>
        {
            var http = (i % 2 == 0 ? second : third).Http;
            return (await http.Until($"/groups/{group}", _ => true), await Archived(http, group)).Item2;
        }));
        var archived = Assert.Single(answers.Select(answer => (answer["archived_at"], answer["r2_path"])).Distinct());
        var file = await File.ReadAllBytesAsync(Path.Combine(Blobs, archived.Item2));
        Assert.Single(Directory.GetFiles(Path.GetDirectoryName(Path.Combine(Blobs, archived.Item2))!));
        foreach (var host in (HostProcess[])[second, third])
        {
            Assert.Equal(file, System.Text.Encoding.UTF8.GetBytes((await host.Http.Get($"/groups/{group}/archive")).Is(200).Text));
        }
        await IsTheLog(second.Http, group, file);
        Assert.Equal(0, await second.Stop());
        Assert.Equal(0, await third.Stop());
        await Ledger.Check(database, []);
    }

    [Fact]
    public async Task Of_a_hundred_at_once_over_two_hosts_twenty_five_groups_are_made_and_an_archived_one_leaves_its_place()
    {
        var database = await TestPostgres.NewDatabase();
        await using var a = await Start("a", database);
        await using var b = await Start("b", database);
        var answers = await Task.WhenAll(Enumerable.Range(0, 100).Select(i => (i % 2 == 0 ? a : b).Http.Post("/groups", $$"""{"title":"g{{i}}"}""")));
        Assert.Equal(25, answers.Count(answer => answer.Status == HttpStatusCode.Created));
        Assert.All(answers.Where(answer => answer.Status != HttpStatusCode.Created), answer => answer.IsProblem(429, "active_group_limit_exceeded"));
        var groups = answers.Where(answer => answer.Status == HttpStatusCode.Created).Select(answer => answer["group_id"]).ToList();
        await Task.WhenAll(groups.Take(5).Select((group, i) => Archived((i % 2 == 0 ? a : b).Http, group)));
        var again = await Task.WhenAll(Enumerable.Range(0, 20).Select(i => (i % 2 == 0 ? a : b).Http.Post("/groups", $$"""{"title":"h{{i}}"}""")));
        Assert.Equal(5, again.Count(answer => answer.Status == HttpStatusCode.Created));
        Assert.Equal(0, await a.Stop());
        Assert.Equal(0, await b.Stop());
        await Ledger.Check(database, []);
    }

    [Fact]
    public async Task What_was_taken_while_a_group_was_archived_is_in_the_archive_and_nothing_is_taken_afterwards()
    {
        var database = await TestPostgres.NewDatabase();
        await using var a = await Start("a", database);
        await using var b = await Start("b", database);
        var group = await NewGroup(a.Http);
        var taken = new ConcurrentBag<string>();
        var sent = 0;
        var senders = Enumerable.Range(0, 8).Select(sender => Task.Run(async () =>
        {
            for (var i = 0; ; i++)
            {
                var id = $"m-{sender}-{i}";
                var got = await Say((sender % 2 == 0 ? a : b).Http, group, $"/say {id}", id);
                if (got.Status == HttpStatusCode.Conflict && got.Code == "group_archived")
                {
                    return;
                }
                if (got.Code is not ("stream_busy" or "session_queue_full"))
                {
                    got.Is(202);
                    taken.Add(id);
                    Interlocked.Increment(ref sent);
                }
            }
        })).ToList();
        await Patience.Until(() => Volatile.Read(ref sent) >= 40);
        var archived = await Archived(b.Http, group);
        await Task.WhenAll(senders).WaitAsync(Patience.Limit);
        var file = await File.ReadAllBytesAsync(Path.Combine(Blobs, archived["r2_path"]));
        var archive = await IsTheLog(a.Http, group, file);
        var stored = archive.GetProperty("messages").EnumerateArray().Where(message => Type(message) == "user_message_stored")
            .Select(message => message.GetProperty("message_id").GetString()!);
        Assert.Equal(taken.Order(StringComparer.Ordinal), stored.Order(StringComparer.Ordinal));
        // Each run that began has ended, in the archive too.
        var runs = archive.GetProperty("events").EnumerateArray().GroupBy(e => e.GetProperty("run_id").GetString()).Where(run => run.Key is not null);
        Assert.All(runs, run => Assert.Contains(run, e => e.GetProperty("type").GetString() is "run_completed.v1" or "run_cancelled.v1" or "run_failed.v1"));
        Assert.Equal(0, await a.Stop());
        Assert.Equal(0, await b.Stop());
        await Ledger.Check(database, []);
    }

    [Fact]
    public async Task A_member_who_is_removed_while_sending_over_two_hosts_has_said_nothing_afterwards()
    {
        var database = await TestPostgres.NewDatabase();
        await using var a = await Start("a", database, ("Cowork__Auth__Mode", "token"));
        await using var b = await Start("b", database, ("Cowork__Auth__Mode", "token"));
        var admin = await File.ReadAllTextAsync(Path.Combine(Data, "a", "admin-token"));
        var (ann, bobs) = (await Client(a, "ann"), new[] { await Client(a, "bob"), await Client(b, "bob") });
        var group = await NewGroup(ann);
        (await ann.Post($"/groups/{group}/members", """{"user_id":"bob"}""")).Is(201);
        var sent = 0;
        var senders = bobs.SelectMany(http => Enumerable.Repeat(http, 3)).Select((http, sender) => Task.Run(async () =>
        {
            for (var i = 0; ; i++)
            {
                var got = await Say(http, group, "/say hello", $"m-{sender}-{i}");
                if (got.Status == HttpStatusCode.NotFound)
                {
                    return;
                }
                if (got.Code != "stream_busy")
                {
                    got.Is(202);
                    Interlocked.Increment(ref sent);
                }
            }
        })).ToList();
        await Patience.Until(() => Volatile.Read(ref sent) >= 20);
        (await ann.Delete($"/groups/{group}/members/bob")).Is(204);
        await Task.WhenAll(senders).WaitAsync(Patience.Limit);
        var feed = await Feed(ann, group);
        var removed = feed.Single(e => e.GetProperty("type").GetString() == "group_member_removed").GetProperty("id").GetInt64();
        var said = feed.Where(e => e.GetProperty("type").GetString() == "group_message_stored").ToList();
        Assert.Equal(sent, said.Count);
        Assert.All(said, message => Assert.True(message.GetProperty("id").GetInt64() < removed));
        Assert.Equal(0, await a.Stop());
        Assert.Equal(0, await b.Stop());

        async Task<HttpClient> Client(HostProcess host, string user)
        {
            using var operators = new HttpClient { BaseAddress = new(host.Url) };
            operators.DefaultRequestHeaders.Authorization = new("Bearer", admin.Trim());
            var issued = (await operators.Post("/tokens", JsonSerializer.Serialize(new { name = user, user, roles = (string[])["member"], org_id = "acme" }))).Is(201);
            var http = new HttpClient { BaseAddress = new(host.Url) };
            http.DefaultRequestHeaders.Authorization = new("Bearer", issued["token"]);
            return http;
        }
    }

    /// <summary>Archives, and asks again until the archive is written.</summary>
    static Task<Got> Archived(HttpClient http, string group) => Patience.Until(
        async () =>
        {
            var got = await http.Post($"/groups/{group}/archive", """{"reason":"done"}""");
            Assert.True((int)got.Status is 200 or 202 || got.Code == "stream_busy", got.Text);
            return got;
        },
        got => (int)got.Status == 200, got => got.Text);

    static async Task<List<JsonElement>> Feed(HttpClient http, string group)
    {
        var all = new List<JsonElement>();
        while (await http.Events($"sess_{group["grp_".Length..]}", all.Count) is { Count: > 0 } page)
        {
            all.AddRange(page);
        }
        return all;
    }

    /// <summary>The archive is canonical, and has the feed of the group and its messages from the first on.</summary>
    static async Task<JsonElement> IsTheLog(HttpClient http, string group, byte[] file)
    {
        Assert.Equal(file, CanonicalJson.Of(file));
        var archive = JsonElement.Parse(file);
        var events = archive.GetProperty("events").EnumerateArray().ToList();
        var feed = await Feed(http, group);
        Assert.Equal(feed.Take(events.Count).Select(e => e.GetProperty("hash").GetString()), events.Select(e => e.GetProperty("hash").GetString()));
        // What is behind it belongs to no run, nor to the conversation.
        Assert.DoesNotContain(feed.Skip(events.Count), e => e.GetProperty("type").GetString() is "group_message_stored" or "run_created" or "run_dequeued" or "output_delta");
        var messages = archive.GetProperty("messages").EnumerateArray().ToList();
        Assert.Equal(
            (await Messages(http, group)).Select(message => CanonicalJson.Of(JsonSerializer.SerializeToUtf8Bytes(message))),
            messages.Select(message => CanonicalJson.Of(JsonSerializer.SerializeToUtf8Bytes(message))));
        return archive;
    }
}
