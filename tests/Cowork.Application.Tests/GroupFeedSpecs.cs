using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>The feed of a group as messages: dense, the same for everybody, and found at the same cost wherever it goes on.</summary>
public sealed class GroupFeedSpecs
{
    const string Org = "default";
    const int All = int.MaxValue;

    static readonly GroupKey Group = new("01jhzv0000000000000000000g");
    static readonly string[] Types =
        ["user_message_stored", "agent_start", "text_delta", "tool_call", "tool_result", "agent_message", "agent_error", "done"];

    readonly InMemoryEngine engine = new([], TimeProvider.System);
    readonly InMemoryBlobs blobs = new();

    [Fact]
    public async Task Pages_of_any_size_from_any_place_show_every_message_once_in_the_same_form()
    {
        foreach (var seed in Seeds.Many(ordinary: 4, chaos: 100))
        {
            var random = new Random(seed);
            var (engine, feed) = (new InMemoryEngine([], TimeProvider.System), new GroupWriter());
            await feed.Write(engine, random, events: random.Next(1, 2_000));
            var whole = await Feed(engine).Page(Org, Group, 0, All, long.MaxValue, null, None);
            Assert.Equal(Enumerable.Range(1, whole.Messages.Count).Select(nr => (long)nr), whole.Messages.Select(message => message.Seq));
            Assert.Equal((whole.Messages.Count, false), ((int)whole.Head, whole.HasMore));
            var texts = whole.Messages.Select(Text).ToList();
            Assert.All(whole.Messages, message => AssertShape(message));

            // Another host, which finds the marks, and one that finds none.
            foreach (var reader in (GroupFeed[])[Feed(engine), new(engine, new InMemoryEngine([], TimeProvider.System), blobs)])
            {
                for (var tries = 0; tries < 20; tries++)
                {
                    var (since, limit) = (random.Next(texts.Count + 1), random.Next(1, 400));
                    var page = await reader.Page(Org, Group, since, limit, random.Next(1, 200_000), null, None);
                    Assert.Equal(texts.Skip(since).Take(page.Messages.Count), page.Messages.Select(Text));
                    Assert.True(page.Messages.Count == Math.Min(limit, texts.Count - since) || page.Messages.Count > 0);
                    Assert.Equal(since + page.Messages.Count < texts.Count, page.HasMore);
                    var before = random.Next(1, texts.Count + 2);
                    var earlier = await reader.PageBefore(Org, Group, before, limit, long.MaxValue, None);
                    Assert.Equal(texts.Take(before - 1).TakeLast(limit), earlier.Select(Text));
                }
                Assert.Equal(new GroupMark(feed.Shown.Count, texts.Count), await reader.Head(Org, Group, None));
                var nr = random.Next(feed.Shown.Count);
                Assert.Equal(feed.Shown.Take(nr + 1).Sum(), await reader.SeqOf(Org, Group, nr + 1, None));
            }
        }
    }

    [Fact]
    public async Task A_page_ends_with_the_bytes_that_it_may_have_at_either_end()
    {
        await new GroupWriter().Write(engine, new(Seeds.One(1)), events: 500);
        var whole = (await Feed(engine).Page(Org, Group, 0, All, long.MaxValue, null, None)).Messages;
        var first = await Feed(engine).Page(Org, Group, 10, All, 1_000, null, None);
        Assert.True(first.HasMore);
        Assert.InRange(first.Messages.Sum(message => message.Json.Length), 1_000, 1_000 + whole.Max(message => message.Json.Length));
        var last = await Feed(engine).PageBefore(Org, Group, whole.Count + 1, 200, 1_000, None);
        Assert.Equal(whole.TakeLast(last.Count).Select(Text), last.Select(Text));
        Assert.InRange(last.Sum(message => message.Json.Length), 1_000, 1_000 + whole.Max(message => message.Json.Length));
    }

    [Theory]
    [InlineData(10)]
    [InlineData(1_000)]
    [InlineData(30_000)]
    public async Task What_it_costs_to_go_on_does_not_grow_with_the_feed(int events)
    {
        var random = new Random(Seeds.One(1));
        await new GroupWriter().Write(engine, random, events);
        var log = new CountingLog(engine);
        var head = await new GroupFeed(log, engine, blobs).Head(Org, Group, None);
        Assert.Equal(events, log.Read);
        for (var tries = 0; tries < 20; tries++)
        {
            log.Read = 0;
            var page = await new GroupFeed(log, engine, blobs).Page(Org, Group, random.NextInt64(head.Seq), 10, long.MaxValue, null, None);
            Assert.NotEmpty(page.Messages);
            // Up to the place, and to the end of what was read at once.
            Assert.InRange(log.Read, 1, 3 * GroupFeed.MarkEvery);
            log.Read = 0;
            Assert.Equal(head, await new GroupFeed(log, engine, blobs).Head(Org, Group, None));
            Assert.InRange(log.Read, 0, GroupFeed.MarkEvery);
            log.Read = 0;
            await new GroupFeed(log, engine, blobs).SeqOf(Org, Group, random.NextInt64(1, events + 1), None);
            Assert.InRange(log.Read, 0, GroupFeed.MarkEvery);
        }
    }

    static CancellationToken None => CancellationToken.None;

    GroupFeed Feed(InMemoryEngine engine) => new(engine, engine, blobs);

    static string Text(GroupMessage message) => System.Text.Encoding.UTF8.GetString(message.Json.Span);

    static void AssertShape(GroupMessage message)
    {
        var json = JsonElement.Parse(message.Json.Span);
        var type = json.GetProperty("type").GetString();
        Assert.Contains(type, Types);
        Assert.Equal(message.Seq, json.GetProperty("seq").GetInt64());
        Assert.Equal(["type", "seq", "ts"], json.EnumerateObject().Take(3).Select(member => member.Name));
        if (type != "user_message_stored")
        {
            Assert.Equal(("helper", "m1"), (json.GetProperty("agent_id").GetString(), json.GetProperty("message_id").GetString()));
            Assert.StartsWith("run_", json.GetProperty("run_id").GetString(), StringComparison.Ordinal);
        }
    }

    /// <summary>Writes the feed of a group.</summary>
    sealed class GroupWriter
    {
        static readonly DateTimeOffset Start = new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);

        readonly Dictionary<string, (long Version, string Hash)> streams = [];
        readonly List<RunKey> runs = [];

        /// <summary>The number of messages of each event, in the order of the feed.</summary>
        public List<int> Shown { get; } = [];

        public async Task Write(InMemoryEngine engine, Random random, int events)
        {
            while (Shown.Count < events)
            {
                var (e, stream, run, shown) = Next(random, Start.AddMilliseconds(Shown.Count));
                var (version, hash) = streams.GetValueOrDefault(stream, (0, HashChain.Root));
                var (name, data, id) = (EventTypes.NameOf(e), EventJson.Write(e), Ids.NewEventId(e.At));
                var next = HashChain.Next(hash, Org, stream, version + 1, id, name, e.At, "user:ann", data);
                var write = new Write(
                    stream, version, [new(Org, stream, version + 1, id, name, e, data, e.At, "user:ann", next)], Group.Session, run, []);
                Assert.IsType<AppendResult.Ok>(await engine.Append(new(Org, [write], [], null, new("user:ann")), None));
                streams[stream] = (version + 1, next);
                Shown.Add(shown);
            }
        }

        (Event Event, string Stream, RunKey? Run, int Shown) Next(Random random, DateTimeOffset at)
        {
            if (runs.Count == 0 || random.Next(20) == 0)
            {
                var key = new RunKey(Ids.NewKey(at));
                runs.Add(key);
                return (
                    new RunEvent.RunCreated(key, Group.Session, Content.Of("hello"), "offline", null, at, Agent: new("helper", "Help", "ann", "ann", "m1", 0)),
                    Run.Aggregate.Stream(key), key, 0);
            }
            if (random.Next(10) == 0)
            {
                return (new GroupEvent.GroupMessageStored(Content.Of(Words(random)), "ann", $"m{Shown.Count}", [], at), Domain.Group.Aggregate.Stream(Group), null, 1);
            }
            var run = runs[random.Next(runs.Count)];
            (RunEvent Event, int Shown) of = random.Next(12) switch
            {
                0 => (new RunEvent.RunStarted(1, "a", at), 1),
                1 => (new RunEvent.RunResumed(2, 2, "b", at), 1),
                2 => (new RunEvent.ModelRetried(1, 2, "model_failed", "It failed.", 100, at), 1),
                3 => (new RunEvent.ToolCall("c1", "list_files", Content.Of("{\"path\":\".\"}"), at), 1),
                4 => (new RunEvent.ToolResult(1, 1, "c1", "list_files", Content.Of(Words(random)), false, at), 1),
                5 => (new RunEvent.AssistantReply(Content.Of(Words(random)), at), 1),
                6 => (new RunEvent.RunCompleted(1, 1, 0, at), 1),
                7 => (new RunEvent.RunFailed(new("model_failed", "It failed."), at), 2),
                8 => (new RunEvent.RunCancelled(at), 1),
                9 => (new RunEvent.PolicyDecision("c1", PolicyOutcome.Allow, "read", "It reads.", at), 0),
                _ => (new RunEvent.OutputDelta(Words(random), at), 1),
            };
            return (of.Event, Run.Aggregate.Stream(run), run, of.Shown);
        }

        static string Words(Random random) => new('x', random.Next(1, 300));
    }

    /// <summary>Counts the events that are read from a session's feed.</summary>
    sealed class CountingLog(IEventLog inner) : IEventLog
    {
        public int Read { get; set; }

        public async ValueTask<FeedPage> Feed(string org, SessionKey? session, long after, int max, CancellationToken ct)
        {
            var page = await inner.Feed(org, session, after, max, ct);
            Read += page.Entries.Count;
            return page;
        }

        public ValueTask<StreamSlice> Load(string org, string stream, long after, int max, CancellationToken ct) => inner.Load(org, stream, after, max, ct);

        public ValueTask<AppendResult> Append(Commit commit, CancellationToken ct) => inner.Append(commit, ct);

        public ValueTask<FeedPage> FeedOfRun(string org, SessionKey session, RunKey run, long after, int max, CancellationToken ct) =>
            inner.FeedOfRun(org, session, run, after, max, ct);

        public ValueTask<IReadOnlyList<FeedEntry>> OfRun(string org, SessionKey session, RunKey run, CancellationToken ct, long after = 0, int max = int.MaxValue) =>
            inner.OfRun(org, session, run, ct, after, max);

        public IAsyncEnumerable<RecordedEvent> Scan(long after, CancellationToken ct) => inner.Scan(after, ct);
    }
}
