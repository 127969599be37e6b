using System.Collections.Concurrent;
using System.IO.Pipelines;
using System.Net;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;

using Cowork.Testing;
using Cowork.Web.Endpoints.AgentService;
using Cowork.Web.Http;

using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Feeds, polled and streamed: every event once, in order, from any cursor, however many write and read.</summary>
public sealed class FeedSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    readonly HttpClient http = tenant.Http;

    [Fact]
    public async Task An_event_has_everything_that_a_reader_needs()
    {
        var session = await http.NewSession("shape");
        await http.Turn(session, "/tool list_files {}\n/say ok");
        var events = await http.Events(session);
        Assert.All(events, e => Assert.Equal(
            ["id", "session_id", "run_id", "type", "event_type", "ts", "payload", "stream_id", "version", "gid", "hash", "correlation_id", "event_id",
                "feed_id", "actor", "stored_type"],
            e.EnumerateObject().Select(m => m.Name)));
        Assert.Equal(Enumerable.Range(1, events.Count).Select(i => (long)i), events.Select(e => e.GetProperty("id").GetInt64()));
        Assert.All(events, e => Assert.Equal(e.GetProperty("type").GetString(), e.GetProperty("event_type").GetString()));
        var call = Payload(events, "tool_call");
        Assert.Equal(("list_files", JsonValueKind.Object), (call.GetProperty("name").GetString(), call.GetProperty("input").ValueKind));
        Assert.Equal(JsonValueKind.String, Payload(events, "tool_result").GetProperty("content_preview").ValueKind);
        Assert.Equal("ok", Payload(events, "assistant_reply").GetProperty("content").GetString());
        Assert.True(Payload(events, "llm_response").TryGetProperty("cost_usd", out _));
        Assert.True(Payload(events, "memory_retrieval").TryGetProperty("provenance", out _));
    }

    [Fact]
    public async Task Pages_join_without_a_gap()
    {
        var session = await http.NewSession();
        await http.Turn(session, "/say ok");
        var whole = await http.Events(session);
        var (since, joined) = (0L, new List<JsonElement>());
        while (true)
        {
            var page = (await http.Get($"/sessions/{session}/events?since_id={since}&limit=2")).Is(200);
            Assert.Equal(session, page["session_id"]);
            joined.AddRange(page.Json.GetProperty("events").EnumerateArray());
            var next = page.Json.GetProperty("next_since_id").GetInt64();
            if (next == since)
            {
                break;
            }
            since = next;
        }
        Assert.Equal(whole.Select(e => e.GetRawText()), joined.Select(e => e.GetRawText()));
    }

    [Fact]
    public async Task A_long_poll_answers_when_something_comes_and_when_the_time_is_over()
    {
        var session = await http.NewSession();
        var waiting = http.Get($"/sessions/{session}/events?since_id=1&wait_seconds=30");
        await http.Turn(session, "/say ok");
        Assert.Equal(2, (await waiting).Is(200).Json.GetProperty("events")[0].GetProperty("id").GetInt64());
        var head = (await http.Events(session)).Count;
        var nothing = (await http.Get($"/sessions/{session}/events?since_id={head}&wait_seconds=1")).Is(200);
        Assert.Equal(("[]", $"{head}"), (nothing["events"], nothing["next_since_id"]));
    }

    [Fact]
    public async Task A_stream_resumes_after_every_event()
    {
        var session = await http.NewSession();
        await http.Turn(session, "/say ok");
        var polled = await http.Events(session);
        for (var since = 0; since < polled.Count; since++)
        {
            await using var byHeader = await EventReader.Open(http, $"/sessions/{session}/events/stream?since_id=0", since);
            await using var byQuery = await EventReader.Open(http, $"/sessions/{session}/events/stream?since_id={since}");
            foreach (var reader in (EventReader[])[byHeader, byQuery])
            {
                var streamed = await reader.Through(polled.Count);
                Assert.Equal(polled.Skip(since).Select(e => e.GetRawText()), streamed.Select(e => e.Data.GetRawText()));
                Assert.All(streamed, e => Assert.Equal((e.Id, e.Type), (e.Data.GetProperty("id").GetInt64(), e.Data.GetProperty("type").GetString())));
            }
        }
    }

    [Fact]
    public async Task A_client_that_reconnects_at_every_event_sees_each_once()
    {
        var session = await http.NewSession();
        var turns = Task.WhenAll(Enumerable.Range(0, 4).Select(_ => http.Turn(session, "/say ok")));
        var (last, ids) = (0L, new List<long>());
        using var timeout = new CancellationTokenSource(Patience.Limit);
        while (!turns.IsCompleted || last < (await http.Events(session)).Count)
        {
            await using var reader = await EventReader.Open(http, $"/sessions/{session}/events/stream", last);
            last = (await reader.Next(timeout.Token))!.Value.Id;
            ids.Add(last);
        }
        Assert.All(await turns, turn => turn.Is(200));
        Assert.Equal(Enumerable.Range(1, ids.Count).Select(i => (long)i), ids);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    public async Task Thirty_two_writers_and_eight_readers_see_one_order(int sessionCount)
    {
        const int Writers = 32, TurnsOfEach = 3, Readers = 4;
        // A host of its own: positions are dense in a database, and so in a tenant's feed only where no other tenant writes.
        await using var host = await LiveHost.Start();
        var http = host.Http;
        var sessions = new List<string>();
        for (var i = 0; i < sessionCount; i++)
        {
            sessions.Add(await http.NewSession());
        }
        var start = (await http.Get("/events?limit=1000")).Json.GetProperty("next_since_id").GetInt64();
        using var timeout = new CancellationTokenSource(2 * Patience.Limit);
        using var done = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token);
        var streams = sessions.ToDictionary(s => s, _ => new ConcurrentBag<List<string>>());
        var polls = sessions.ToDictionary(s => s, _ => new ConcurrentBag<List<string>>());
        var heads = new ConcurrentDictionary<string, long>();
        var writing = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);

        async Task Stream(string session)
        {
            var seen = new List<string>();
            await using var reader = await EventReader.Open(http, $"/sessions/{session}/events/stream");
            while (!heads.TryGetValue(session, out var head) || seen.Count < head)
            {
                if (await reader.Next(timeout.Token) is not { } e)
                {
                    break;
                }
                seen.Add(e.Data.GetRawText());
            }
            streams[session].Add(seen);
        }

        async Task Poll(string session)
        {
            var (since, seen) = (0L, new List<string>());
            while (!heads.TryGetValue(session, out var head) || since < head)
            {
                var page = (await http.Get($"/sessions/{session}/events?since_id={since}&limit=7&wait_seconds=1")).Is(200);
                seen.AddRange(page.Json.GetProperty("events").EnumerateArray().Select(e => e.GetRawText()));
                since = page.Json.GetProperty("next_since_id").GetInt64();
                Assert.False(timeout.IsCancellationRequested);
            }
            polls[session].Add(seen);
        }

        var readers = Enumerable.Range(0, Math.Max(Readers, sessionCount)).SelectMany(i => new[] { Stream(sessions[i % sessionCount]), Poll(sessions[i % sessionCount]) }).ToList();
        var turns = await Task.WhenAll(Enumerable.Range(0, Writers).Select(async w =>
        {
            var answers = new List<Got>();
            for (var t = 0; t < TurnsOfEach; t++)
            {
                answers.Add(await http.Turn(sessions[w % sessionCount], $"/say {w}.{t}"));
            }
            return answers;
        }));
        Assert.All(turns.SelectMany(t => t), turn => Assert.Equal("completed", turn.Is(200)["status"]));
        // What a run leaves behind may come after its end; then one more event, so that every reader has something to wake up for.
        foreach (var session in sessions)
        {
            var quiet = -1;
            while (await http.Events(session) is var events && events.Count != quiet)
            {
                quiet = events.Count;
                await Task.Delay(50);
            }
            heads[session] = quiet + 1;
            await http.Turn(session, "/say last", wait: false);
        }
        await Task.WhenAll(readers);
        foreach (var session in sessions)
        {
            var events = await http.Events(session);
            var log = events.Select(e => e.GetRawText()).ToList();
            Assert.All(streams[session].Concat(polls[session]), seen => Assert.Equal(log[..(int)heads[session]], seen[..(int)heads[session]]));
            Assert.Equal(Enumerable.Range(1, events.Count).Select(i => (long)i), events.Select(e => e.GetProperty("id").GetInt64()));
        }
        // The tenant's feed is dense too, and within a session both have the same order.
        var (cursor, gids) = (start, new List<(long Gid, string? Session)>());
        while ((await http.Get($"/events?since_id={cursor}&limit=1000")).Is(200) is var page && page.Json.GetProperty("events").GetArrayLength() > 0)
        {
            gids.AddRange(page.Json.GetProperty("events").EnumerateArray().Select(e => (e.GetProperty("gid").GetInt64(), e.GetProperty("session_id").GetString())));
            cursor = page.Json.GetProperty("next_since_id").GetInt64();
        }
        Assert.Equal(gids.Select((_, i) => start + 1 + i), gids.Select(e => e.Gid));
    }

    [Fact]
    public async Task The_tenants_stream_has_what_its_pages_have()
    {
        await http.Turn(await http.NewSession(), "/say ok");
        var page = (await http.Get("/events?limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray().ToList();
        await using var reader = await EventReader.Open(http, "/events/stream?since_id=0");
        var streamed = await reader.Through(page[^1].GetProperty("gid").GetInt64());
        Assert.Equal(page.Select(e => e.GetRawText()), streamed.Take(page.Count).Select(e => e.Data.GetRawText()));
    }

    [Fact]
    public async Task A_stream_without_names_is_heard_by_a_browsers_onmessage_and_says_the_same()
    {
        var session = await http.NewSession();
        await http.Turn(session, "/say ok");
        var last = (await http.Events(session))[^1].GetProperty("id").GetInt64();
        await using EventReader named = await EventReader.Open(http, $"/sessions/{session}/events/stream"),
            plain = await EventReader.Open(http, $"/sessions/{session}/events/stream?named=false");
        var (with, without) = (await named.Through(last), await plain.Through(last));
        Assert.All(with, e => Assert.Equal(e.Data.GetProperty("type").GetString(), e.Type));
        Assert.All(without, e => Assert.Empty(e.Type));
        Assert.Equal(with.Select(e => (e.Id, e.Data.GetRawText())), without.Select(e => (e.Id, e.Data.GetRawText())));
        (await http.Get($"/sessions/{session}/events/stream?named=perhaps")).Is(422);
    }

    [Fact]
    public async Task A_proxy_is_told_to_hand_a_stream_on_as_it_comes()
    {
        var session = await http.NewSession();
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/sessions/{session}/events/stream");
        request.Headers.Add("Accept-Encoding", "gzip, br");
        using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal("no-store, no-transform", string.Join(", ", response.Headers.GetValues("Cache-Control")));
        Assert.Equal("no", response.Headers.GetValues("X-Accel-Buffering").Single());
        Assert.Empty(response.Content.Headers.ContentEncoding);
    }

    [Fact]
    public async Task An_idle_stream_says_that_it_is_alive()
    {
        await using var host = await LiveHost.Start(settings => settings with { KeepAlive = TimeSpan.FromMilliseconds(20) });
        var session = await host.Http.NewSession();
        await using var reader = await EventReader.Open(host.Http, $"/sessions/{session}/events/stream?since_id=1");
        using var timeout = new CancellationTokenSource(Patience.Limit);
        var coming = reader.Next(timeout.Token);
        await Patience.Until(() => reader.Comments >= 3);
        await host.Http.Turn(session, "/say ok", wait: false);
        Assert.Equal(2, (await coming)!.Value.Id);
    }

    [Theory]
    [InlineData(false)] // They are there when the stream asks for them: a replay.
    [InlineData(true)]
    public async Task A_stream_says_that_it_is_alive_while_its_reader_makes_nothing_of_what_happens(bool isLive)
    {
        await using var host = await LiveHost.Start(settings => settings with { KeepAlive = TimeSpan.FromMilliseconds(20) });
        using var timeout = new CancellationTokenSource(Patience.Limit);
        var caller = new Caller("default", "user:ann", [], IsOperator: false, TraceId: "");
        using var place = host.Services.GetRequiredService<OpenStreams>().Open(caller, IPAddress.Loopback).Stream!;
        var sent = new Pipe();
        var context = new DefaultHttpContext { RequestServices = host.Services, RequestAborted = timeout.Token };
        context.Response.Body = sent.Writer.AsStream();
        var stream = Task.Run(() => host.Services.GetRequiredService<EventStream>().Send(context, place, Events, (_, _) => true, at => at));

        using var lines = new StreamReader(sent.Reader.AsStream(), Encoding.UTF8);
        Assert.Equal(["retry: 1000", "", ": alive", "", ": alive", "", ": alive"], [.. await Lines(7)]);
        await timeout.CancelAsync();
        await stream;

        async IAsyncEnumerable<DateTimeOffset> Events([EnumeratorCancellation] CancellationToken over)
        {
            while (true)
            {
                over.ThrowIfCancellationRequested();
                if (isLive)
                {
                    await Task.Yield();
                }
                yield return default;
            }
        }

        async Task<List<string?>> Lines(int count)
        {
            var read = new List<string?>();
            while (read.Count < count)
            {
                read.Add(await lines.ReadLineAsync(timeout.Token));
            }
            return read;
        }
    }

    [Fact]
    public async Task Streams_and_waits_end_when_the_host_stops()
    {
        var host = await LiveHost.Start();
        var session = await host.Http.NewSession();
        await using var reader = await EventReader.Open(host.Http, $"/sessions/{session}/events/stream");
        var poll = host.Http.Get($"/sessions/{session}/events?since_id=1&wait_seconds=60");
        var events = await reader.Through(1);
        var turn = host.Http.Turn(session, "/sleep 60000");
        await reader.Through(4);
        await poll;
        var second = host.Http.Get($"/sessions/{session}/events?since_id=1000000&wait_seconds=60");
        (await second).IsProblem(422, "cursor_ahead");
        using var timeout = new CancellationTokenSource(Patience.Limit);
        var since = TimeProvider.System.GetTimestamp();
        var stopping = host.DisposeAsync().AsTask();
        while (await reader.Next(timeout.Token) is not null)
        {
            Assert.False(timeout.IsCancellationRequested);
        }
        Assert.Equal("running", (await turn).Is(202)["status"]);
        await stopping.WaitAsync(timeout.Token);
        // It waited neither for the run nor for the reader.
        Assert.InRange(TimeProvider.System.GetElapsedTime(since), TimeSpan.Zero, Patience.Stretched(TimeSpan.FromSeconds(15)));
        Assert.Single(events);
    }

    static JsonElement Payload(IReadOnlyList<JsonElement> events, string type) => events.First(e => e.GetProperty("type").GetString() == type).GetProperty("payload");
}
