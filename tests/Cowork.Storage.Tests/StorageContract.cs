using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>What every engine must hold to, whatever it is made of.</summary>
public abstract partial class StorageContract : StorageHarness
{
    [Fact]
    public async Task What_is_appended_is_loaded_as_it_was()
    {
        var node = await Open("a");
        var chain = new Chain(Org, "run-1", "s1", "1");
        var first = chain.Commit("one", "zwei – \"drei\" 😀", "\n");
        Assert.Equal(new AppendResult.Ok(1), await node.Log.Append(first, None));
        var second = chain.Commit("four");
        Assert.Equal(new AppendResult.Ok(4), await node.Log.Append(second, None));

        var past = await node.Log.Load(Org, "run-1", 0, int.MaxValue, None);
        Assert.Equal(4, past.Version);
        Assert.Equal(chain.Hash, past.Hash);
        foreach (var (wrote, read) in first.Writes[0].Events.Concat(second.Writes[0].Events).Zip(past.Events))
        {
            Assert.Equal(wrote with { Data = default, Position = wrote.Version }, read with { Data = default });
            Assert.Equal(Encoding.UTF8.GetString(wrote.Data.Span), Encoding.UTF8.GetString(CanonicalJson.Of(read.Data.Span)));
        }
    }

    [Theory]
    [InlineData(0, 2, 2, new long[] { 1, 2 })]
    [InlineData(1, 1, 2, new long[] { 2 })]
    [InlineData(2, int.MaxValue, 3, new long[] { 3 })]
    [InlineData(3, 10, 3, new long[0])]
    [InlineData(9, 10, 3, new long[0])] // no more than there is
    public async Task A_stream_is_loaded_in_ranges(long after, int max, long version, long[] versions)
    {
        var node = await Open("a");
        var chain = new Chain(Org, "run-1");
        var events = chain.Next("one", "two", "three");
        await node.Log.Append(new(Org, [events], [], null, Chain.By), None);

        var past = await node.Log.Load(Org, "run-1", after, max, None);
        Assert.Equal(version, past.Version);
        Assert.Equal(events.Events[(int)version - 1].Hash, past.Hash);
        Assert.Equal(versions, past.Events.Select(e => e.Version));
    }

    [Fact]
    public async Task The_last_use_of_a_token_only_grows_and_is_seen_by_every_node()
    {
        var (one, other) = (await Open("a"), await Open("b"));
        var at = new DateTimeOffset(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);
        var (used, idle) = (new TokenKey("used"), new TokenKey("idle"));
        await one.TokenUses.Put([new(Org, used, at), new("other", used, at.AddHours(1))], None);
        await other.TokenUses.Put([new(Org, used, at.AddMinutes(2)), new(Org, new("more"), at)], None);
        await one.TokenUses.Put([new(Org, used, at.AddMinutes(1))], None);
        Assert.Equal([new(Org, used, at.AddMinutes(2))], await other.TokenUses.Get(Org, [used, idle], None));
    }

    [Fact]
    public async Task A_stream_that_is_not_there_is_empty()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain("other", "run-1").Commit("theirs"), None);
        var past = await node.Log.Load(Org, "run-1", 0, int.MaxValue, None);
        Assert.Equal((0L, HashChain.Root, 0), (past.Version, past.Hash, past.Events.Count));
    }

    [Fact]
    public async Task A_stale_commit_is_refused_whole()
    {
        var node = await Open("a");
        var (left, right) = (new Chain(Org, "run-left", "s1"), new Chain(Org, "run-right", "s1"));
        await node.Log.Append(left.Commit("one"), None);
        var stale = new Chain(Org, "run-left", "s1").Next("another one");
        var fresh = right.Next("one");

        Assert.Equal(new AppendResult.Moved("run-left"), await node.Log.Append(new(Org, [fresh, stale], [new("k", "1")], null, Chain.By), None));
        Assert.Equal(new AppendResult.Moved("run-right"), await node.Log.Append(right.Commit("two, with no one before"), None));
        Assert.Equal(0, (await node.Log.Load(Org, "run-right", 0, 10, None)).Version);
        Assert.Equal(new AppendResult.Ok(2), await node.Log.Append(new(Org, [fresh], [], null, Chain.By), None));
        await AssertLedger(node);
    }

    [Fact]
    public async Task A_commit_holds_only_while_the_streams_that_it_is_pinned_to_stand_still()
    {
        var (node, other) = (await Open("a"), await Open("b"));
        var (project, session) = (new Chain(Org, "run-project"), new Chain(Org, "run-session", "s1"));
        Commit Pinned(long version, Write write, string stream = "run-project") => new(Org, [write], [], null, Chain.By) { Pins = [new(stream, version)] };
        await other.Log.Append(project.Commit("one"), None);
        // Neither node has heard of what the other wrote.
        Assert.Equal(new AppendResult.Ok(2), await node.Log.Append(Pinned(1, session.Next("in it")), None));
        await other.Log.Append(project.Commit("two"), None);
        var late = session.Next("late");
        Assert.Equal(new AppendResult.Moved("run-project"), await node.Log.Append(Pinned(1, late), None));
        Assert.Equal(new AppendResult.Moved("run-nowhere"), await node.Log.Append(Pinned(1, late, "run-nowhere"), None));
        Assert.Equal(new AppendResult.Moved("run-project"), await node.Log.Append(Pinned(3, late), None));
        Assert.Equal(new AppendResult.Ok(4), await node.Log.Append(Pinned(2, late), None));

        // All at once: who is pinned to what the change leaves is refused, and nobody else.
        var change = project.Commit("three");
        var after = new Chain(Org, "run-after");
        var appended = await Task.WhenAll(
            node.Log.Append(change, None).AsTask(), node.Log.Append(Pinned(2, session.Next("too late")), None).AsTask(), node.Log.Append(Pinned(3, after.Next("after")), None).AsTask());
        Assert.Equal([new AppendResult.Ok(5), new AppendResult.Moved("run-project"), new AppendResult.Ok(6)], appended);
        await Assert.ThrowsAsync<ArgumentException>(async () => await node.Log.Append(Pinned(0, after.Next("never")), None));
        await AssertLedger(node);
    }

    [Fact]
    public async Task Commits_that_follow_each_other_may_be_under_way_at_once()
    {
        var node = await Open("a");
        var chain = new Chain(Org, "run-1", "s1");
        var commits = Enumerable.Range(0, 100).Select(i => chain.Commit($"{i}")).ToList();
        var appended = await Task.WhenAll(commits.Select(c => node.Log.Append(c, None).AsTask()));
        Assert.Equal(Enumerable.Range(1, 100).Select(i => (AppendResult)new AppendResult.Ok(i)), appended);
        await AssertLedger(node);
    }

    [Fact]
    public async Task Nothing_cannot_be_committed()
    {
        var node = await Open("a");
        await Assert.ThrowsAsync<ArgumentException>(async () => await node.Log.Append(new(Org, [], [], null, Chain.By), None));
        await Assert.ThrowsAsync<ArgumentException>(async () => await node.Log.Append(new(Org, [new("run-1", 0, [], null, null, [])], [], null, Chain.By), None));
        var wrong = new Chain(Org, "run-1").Next("one") with { Expected = 1 };
        await Assert.ThrowsAsync<ArgumentException>(async () => await node.Log.Append(new(Org, [wrong], [], null, Chain.By), None));
        Assert.Equal(0, (await node.Log.Load(Org, "run-1", 0, 10, None)).Version);
        Assert.Equal(new AppendResult.Ok(1), await node.Log.Append(new Chain(Org, "run-1").Commit("one"), None));
    }

    [Fact]
    public async Task A_caller_that_gave_up_before_is_not_served()
    {
        var node = await Open("a");
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await node.Log.Append(new Chain(Org, "run-1").Commit("one"), new CancellationToken(true)));
        Assert.Equal(0, (await node.Log.Load(Org, "run-1", 0, 10, None)).Version);
    }

    [Fact]
    public async Task A_feed_has_what_concerns_the_session_whatever_stream_it_lies_in()
    {
        var node = await Open("a");
        var (session, run, elsewhere, secret) =
            (new Chain(Org, "session-s1", "s1"), new Chain(Org, "run-1", "s1", "1"), new Chain(Org, "run-2", "s2", "2"), new Chain("other", "run-1", "s1", "1"));
        await node.Log.Append(new(Org, [session.Next("created"), run.Next("a", "b")], [], null, Chain.By), None);
        await node.Log.Append(secret.Commit("not ours"), None);
        await node.Log.Append(elsewhere.Commit("c"), None);
        await node.Log.Append(new Chain(Org, "token-1").Commit("in no session"), None);
        await node.Log.Append(run.Commit("d"), None);

        var page = await node.Log.Feed(Org, new("s1"), 0, 100, None);
        Assert.Equal(4, page.Head);
        Assert.Equal([(1, 1, "session-s1", 1, null), (2, 2, "run-1", 1, "1"), (3, 3, "run-1", 2, "1"), (4, 7, "run-1", 3, "1")],
            page.Entries.Select(e => (e.FeedId, e.Position, e.Stream, e.Version, e.Run?.Value)));
        var last = page.Entries[^1];
        Assert.Equal(("output_delta.v1", Org, "s1", run.Hash, "user:ann", Chain.Start.AddMilliseconds(3)), (last.Type, last.Org, last.Session?.Value, last.Hash, last.Actor, last.At));
        Assert.Equal("{\"text\":\"d\"}", Encoding.UTF8.GetString(last.Data.Span));

        var middle = await node.Log.Feed(Org, new("s1"), 1, 2, None);
        Assert.Equal((4L, "2 3"), (middle.Head, string.Join(' ', middle.Entries.Select(e => e.FeedId))));
        var beyond = await node.Log.Feed(Org, new("s1"), 9, 2, None);
        Assert.Equal((4L, 0), (beyond.Head, beyond.Entries.Count));
        var none = await node.Log.Feed(Org, new("s3"), 0, 2, None);
        Assert.Equal((0L, 0), (none.Head, none.Entries.Count));

        Assert.Equal([2, 3, 4], (await node.Log.OfRun(Org, new("s1"), new("1"), None)).Select(e => e.FeedId));
        Assert.Empty(await node.Log.OfRun(Org, new("s2"), new("1"), None));
        Assert.Equal((4L, "2 3 4"), Told(await node.Log.FeedOfRun(Org, new("s1"), new("1"), 0, 100, None)));
        Assert.Equal((4L, "3"), Told(await node.Log.FeedOfRun(Org, new("s1"), new("1"), 2, 1, None)));
        Assert.Equal((4L, ""), Told(await node.Log.FeedOfRun(Org, new("s1"), new("2"), 0, 100, None)));
        Assert.Equal((0L, ""), Told(await node.Log.FeedOfRun(Org, new("s3"), new("1"), 0, 100, None)));

        var tenant = await node.Log.Feed(Org, null, 2, 3, None);
        Assert.Equal([(3, "s1", "1"), (5, "s2", "2"), (6, null, null)], tenant.Entries.Select(e => (e.Position, e.Session?.Value, e.Run?.Value)));
        Assert.Equal(7, tenant.Head);

        static (long, string) Told(FeedPage page) => (page.Head, string.Join(' ', page.Entries.Select(e => e.FeedId)));
    }

    [Fact]
    public async Task Who_observes_hears_the_log_in_its_order()
    {
        var heard = new Heard();
        var node = await Open("a", heard);
        var chains = Enumerable.Range(0, 20).Select(i => new Chain(Org, $"run-{i}", $"s{i % 3}", $"{i}")).ToList();
        await Task.WhenAll(chains.Select(async chain =>
        {
            for (var i = 0; i < 10; i++)
            {
                Assert.IsType<AppendResult.Ok>(await node.Log.Append(chain.Commit($"{i}"), None));
            }
        }));
        var entries = heard.Entries;
        Assert.Equal(Enumerable.Range(1, 200).Select(i => (long)i), entries.Select(e => e.Position));
        for (var s = 0; s < 3; s++)
        {
            var read = await node.Log.Feed(Org, new($"s{s}"), 0, 1000, None);
            var told = entries.Where(e => e.Session == new SessionKey($"s{s}")).ToList();
            Assert.Equal(read.Entries.Select(e => e with { Data = default }), told.Select(e => e with { Data = default }));
            Assert.Equal(read.Entries.Select(e => Encoding.UTF8.GetString(e.Data.Span)), told.Select(e => Encoding.UTF8.GetString(e.Data.Span)));
        }
    }

    [Fact]
    public async Task Rows_are_what_the_last_commit_left()
    {
        var node = await Open("a");
        var (one, two, three) = (new Chain(Org, "run-1"), new Chain(Org, "run-2"), new Chain(Org, "run-3"));
        await node.Log.Append(one.Commit("apples and pears"), None);
        await node.Log.Append(two.Commit("a pear tree"), None);
        await node.Log.Append(three.Commit("nothing of that", "b", "c", "nothing of that"), None);
        await node.Log.Append(one.Commit("apples, pears and plums"), None);

        var row = await node.Rows.Get(Org, "tallies", "1", None);
        Assert.Equal((1L, 2L), (row!.Created, row.Version));
        Assert.Equal(new Tally(2, "apples, pears and plums", "s"), Chain.Tallies.Read(row.Json.Span));
        Assert.Null(await node.Rows.Get("other", "tallies", "1", None));
        Assert.Null(await node.Rows.Get(Org, "tallies", "4", None));

        Assert.Equal(["3", "2", "1"], await Keys(new()));
        Assert.Equal(["3", "2"], await Keys(new(Limit: 2)));
        Assert.Equal(["2", "1"], await Keys(new(Before: 3)));
        Assert.Equal(["3"], await Keys(new(Status: "many")));
        Assert.Equal(["2", "1"], await Keys(new(Scope: "s", Status: "few")));
        Assert.Empty(await Keys(new(Scope: "t")));
        Assert.Equal(["3 2 1 of 3", "2 of 3", "of 3", "2 1 of 2", "1 of 2", "of 0"],
            [await Page(new(), 0), await Page(new(Limit: 1), 1), await Page(new(), 3), await Page(new(Scope: "s", Status: "few"), 0), await Page(new(Status: "few"), 1),
            await Page(new(Scope: "t"), 0)]);
        Assert.Equal(["1"], await Keys(new() { Having = ("Text", "apples, pears and plums") }));
        Assert.Equal("2 of 1", await Page(new(Scope: "s", Status: "few") { Having = ("Text", "a pear tree") }, 0));
        Assert.Empty(await Keys(new() { Having = ("Other", "x") }));
        Assert.Equal(2, await node.Rows.Count(Org, "tallies", "few", 100, null, None));
        Assert.Equal(1, await node.Rows.Count(Org, "tallies", "few", 1, null, None));

        Assert.Equal(["1", "2"], (await node.Rows.Search(Org, "tallies", "plums or pear?", 10, null, null, null, None)).Select(r => r.Key));
        Assert.Equal(["2"], (await node.Rows.Search(Org, "tallies", "the TREES' \\ & | !( :*", 10, null, null, null, None)).Select(r => r.Key));
        Assert.Single(await node.Rows.Search(Org, "tallies", "pears", 1, null, null, null, None));
        Assert.Equal(["1", "2"], (await node.Rows.Search(Org, "tallies", "plums or pear?", 10, null, "few", null, None)).Select(r => r.Key));
        Assert.Empty(await node.Rows.Search(Org, "tallies", "plums or pear?", 10, null, "many", null, None));
        Assert.Empty(await node.Rows.Search(Org, "tallies", "the", 10, null, null, null, None));
        Assert.Empty(await node.Rows.Search(Org, "tallies", "", 10, null, null, null, None));
        Assert.Empty(await node.Rows.Search("other", "tallies", "pears", 10, null, null, null, None));

        var lists = await node.Rows.Lists(Org, "tallies", [new(Status: "few"), new(Status: "many", Limit: 1), new()], None);
        Assert.Equal([await Keys(new(Status: "few")), await Keys(new(Status: "many", Limit: 1)), await Keys(new())], lists.Select(list => list.Select(row => row.Key)));
        Assert.Empty(await node.Rows.Lists(Org, "tallies", [], None));

        await node.Log.Append(two.Commit("gone"), None);
        Assert.Null(await node.Rows.Get(Org, "tallies", "2", None));
        await Assert.ThrowsAsync<ArgumentException>(async () => await node.Rows.Get(Org, "no_such_table", "1", None));
        await AssertLedger(node);

        async Task<IEnumerable<string>> Keys(RowQuery query) => (await node.Rows.List(Org, "tallies", query, None)).Select(r => r.Key);
        async Task<string> Page(RowQuery query, long offset) =>
            await node.Rows.Page(Org, "tallies", query, offset, None) is var page ? string.Join(' ', [.. page.Rows.Select(r => r.Key), $"of {page.Total}"]) : "";
    }

    [Fact]
    public async Task What_belongs_to_something_that_is_gone_is_not_found()
    {
        var node = await Open("a");
        // Every tally belongs to "s", which another tenant has too.
        var owner = new Chain(Org, "run-s");
        await node.Log.Append(new Chain("other", "run-s").Commit("another tenant's"), None);
        await node.Log.Append(new Chain(Org, "run-1").Commit("a pear"), None);
        var (session, none) = (new RowOwner("Session", "tallies"), new RowOwner("no_such_member", "tallies"));
        Assert.Empty(await Found(session));
        await node.Log.Append(owner.Commit("here"), None);
        Assert.Equal(["1"], await Found(session));
        Assert.Equal("s 1 of 2", await Listed(session));
        Assert.Equal(2, await Counted(session));
        // Every tally's scope is "s", too.
        var scope = session with { Member = null };
        Assert.Equal(["1"], await Found(scope));
        Assert.Equal("s 1 of 2", await Listed(scope));
        Assert.Equal(2, await Counted(scope));
        await node.Log.Append(owner.Commit("gone"), None);
        Assert.Equal(("of 0", 0, 1), (await Listed(scope), await Counted(scope), await Counted(null)));
        Assert.Empty(await Found(session));
        Assert.Equal("of 0", await Listed(session));
        Assert.Equal(["1"], await Found(null));
        // One table or the other has the owner.
        var either = new RowOwner("Session", "marks") { OrTable = "tallies" };
        Assert.Empty(await Found(either));
        await node.Log.Append(owner.Commit("here again"), None);
        Assert.Equal(["1"], await Found(either));
        Assert.Equal("s 1 of 2", await Listed(either));
        await node.Log.Append(owner.Commit("gone"), None);
        // What has no owner is not asked for one.
        Assert.Equal(["1"], await Found(none));
        Assert.Equal("1 of 1", await Listed(none));
        await Assert.ThrowsAsync<ArgumentException>(async () => await Found(session with { Table = "no_such_table" }));

        async Task<IEnumerable<string>> Found(RowOwner? owner) => (await node.Rows.Search(Org, "tallies", "pear", 10, owner, null, null, None)).Select(r => r.Key);
        async Task<long> Counted(RowOwner? owner) => await node.Rows.Count(Org, "tallies", "few", 100, owner, None);
        async Task<string> Listed(RowOwner owner) => await node.Rows.Page(Org, "tallies", new(Owner: owner), 0, None) is var page
            ? string.Join(' ', [.. page.Rows.Select(r => r.Key), $"of {page.Total}"])
            : "";
    }

    [Fact]
    public async Task A_search_keeps_to_the_rows_of_one_share_and_to_those_of_none()
    {
        var node = await Open("a");
        foreach (var (run, text) in ((string, string)[])[("run-1", "a pear"), ("run-2", "two pears")])
        {
            await node.Log.Append(new Chain(Org, run).Commit(text), None);
        }
        Assert.Equal(["1"], await Found(new("Text", "a pear")));
        Assert.Empty(await Found(new("Text", null)));
        Assert.Equal(["1", "2"], await Found(new("no_such_member", "x")));
        Assert.Equal(["1", "2"], await Found(new("no_such_member", null)));

        async Task<IEnumerable<string>> Found(RowShare share) => (await node.Rows.Search(Org, "tallies", "pear", 10, null, null, share, None)).Select(r => r.Key).Order();
    }

    [Fact]
    public async Task Odd_names_find_nothing_and_break_nothing()
    {
        var node = await Open("a");
        await node.Log.Append(new Chain(Org, "run-1", "s1").Commit("one"), None);
        for (var i = 0; i < 4; i++)
        {
            foreach (var odd in new[] { "\0", "a\0b", "\ud800", "", new string('x', 10_000), "'; --", "😀" })
            {
                Assert.Null(await node.Rows.Get(Org, "tallies", odd, None));
                Assert.Empty(await node.Rows.List(odd, "tallies", new(Scope: odd, Status: odd), None));
                Assert.Empty(await node.Rows.Search(Org, "tallies", odd, 10, null, null, null, None));
                Assert.Empty((await node.Log.Feed(Org, new(odd), 0, 10, None)).Entries);
                Assert.Empty(await node.Log.OfRun(Org, new("s1"), new(odd), None));
                Assert.Equal(0, (await node.Log.Load(Org, odd, 0, 10, None)).Version);
            }
            Assert.NotNull(await node.Rows.Get(Org, "tallies", "1", None));
            Assert.Single((await node.Log.Feed(Org, new("s1"), 0, 10, None)).Entries);
        }
    }

    [Fact]
    public async Task Rebuilt_rows_are_the_live_ones()
    {
        var node = await Open("a");
        var random = new Random(Seeds.One(4711));
        var chains = Enumerable.Range(0, 40).Select(i => new Chain(i % 2 == 0 ? Org : "other", $"run-{i:d3}", $"s{i % 5}")).ToList();
        for (var i = 0; i < 400; i++)
        {
            var texts = Enumerable.Range(0, random.Next(1, 4)).Select(_ => random.Next(6) == 0 ? "gone" : $"text {i}").ToList();
            await node.Log.Append(chains[random.Next(chains.Count)].Commit(texts), None);
        }
        var before = await node.Rows.List(Org, "tallies", new(Limit: 1000), None);
        Assert.Null(await node.Rows.FindDifference(Chain.Tallies, None));

        var folded = await node.Rows.Rebuild(Chain.Tallies, None);
        Assert.True(folded >= 400, $"{folded}");
        var after = await node.Rows.List(Org, "tallies", new(Limit: 1000), None);
        Assert.Equal(before.Select(Told), after.Select(Told));
        await AssertLedger(node);

        static (string, long, long, string) Told(Row r) => (r.Key, r.Created, r.Version, Encoding.UTF8.GetString(r.Json.Span));
    }

    [Fact]
    public async Task A_rebuild_while_others_write_misses_nothing()
    {
        var node = await Open("a");
        using var stop = new CancellationTokenSource();
        var writers = Enumerable.Range(0, 8).Select(async i =>
        {
            var chain = new Chain(Org, $"run-{i}", "s1");
            while (!stop.IsCancellationRequested)
            {
                Assert.IsType<AppendResult.Ok>(await node.Log.Append(chain.Commit("x", chain.Version % 5 == 0 ? "gone" : "y"), None));
            }
        }).ToList();
        for (var i = 0; i < 3; i++)
        {
            await node.Rows.Rebuild(Chain.Tallies, None);
        }
        await stop.CancelAsync();
        await Task.WhenAll(writers);
        await AssertLedger(node);
    }

    [Fact]
    public async Task A_snapshot_is_for_the_code_that_wrote_it_and_the_newest_wins()
    {
        var node = await Open("a");
        Assert.Null(await node.Snapshots.Load(Org, "run-1", "v1", None));
        await node.Snapshots.Save(Org, "run-1", new(10, "h10", "v1", "state 10"u8.ToArray(), "row"u8.ToArray()), None);
        await node.Snapshots.Save(Org, "run-1", new(9, "h9", "v1", "state 9"u8.ToArray(), default), None);
        var kept = await node.Snapshots.Load(Org, "run-1", "v1", None);
        Assert.Equal((10L, "h10", "state 10", "row"), (kept!.Version, kept.Hash, Encoding.UTF8.GetString(kept.State.Span), Encoding.UTF8.GetString(kept.Rows.Span)));
        Assert.Null(await node.Snapshots.Load(Org, "run-1", "v2", None));
        Assert.Null(await node.Snapshots.Load("other", "run-1", "v1", None));
        await node.Snapshots.Save(Org, "run-1", new(5, "h5", "v2", "state 5"u8.ToArray(), default), None);
        Assert.Equal(5, (await node.Snapshots.Load(Org, "run-1", "v2", None))!.Version);
    }
}
