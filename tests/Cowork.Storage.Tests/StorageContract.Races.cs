using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

public abstract partial class StorageContract
{
    [Theory]
    [InlineData(1, 1)]
    [InlineData(40, 2)]
    public async Task Many_writers_and_readers_agree_on_one_dense_order(int sessions, int seed)
    {
        const int Writers = 32;
        const int Commits = 40;
        seed = Seeds.One(seed);
        var node = await Open("a");
        using var done = new CancellationTokenSource();
        var readers = Enumerable.Range(0, 8).Select(i => Follow(node, i % 2 == 0 ? null : new SessionKey($"s{i % sessions}"), done.Token)).ToList();

        await Task.WhenAll(Enumerable.Range(0, Writers).Select(async w =>
        {
            var random = new Random((seed * 1000) + w);
            var chain = new Chain(Org, $"run-{w}", $"s{w % sessions}", $"{w}");
            for (var i = 0; i < Commits; i++)
            {
                Assert.IsType<AppendResult.Ok>(await node.Log.Append(chain.Commit([.. Enumerable.Repeat("text", random.Next(1, 4))]), None));
            }
        }));
        await done.CancelAsync();

        var log = await AssertLedger(node);
        foreach (var (reader, i) in (await Task.WhenAll(readers)).Select((r, i) => (r, i)))
        {
            SessionKey? session = i % 2 == 0 ? null : new($"s{i % sessions}");
            var feed = await node.Log.Feed(Org, session, 0, int.MaxValue, None);
            Assert.True(feed.Entries.Select(e => e.Id).SequenceEqual(reader), $"seed {seed}: reader {i} of {session?.Value ?? "all"} saw {reader.Count} of {feed.Entries.Count}");
        }
        Assert.Equal(Writers, log.Select(e => e.Stream).Distinct().Count());
    }

    [Fact]
    public async Task Writers_on_one_stream_all_get_their_turn()
    {
        const int Writers = 64;
        var node = await Open("a");
        await Task.WhenAll(Enumerable.Range(0, Writers).Select(w => AppendWithRetries(node, "run-hot", "s1", 5, w)));
        var log = await AssertLedger(node);
        Assert.Equal(Writers * 5, log.Count);
    }

    [Fact]
    public async Task A_poison_commit_harms_only_itself()
    {
        var node = await Open("a");
        var chains = Enumerable.Range(0, 100).Select(i => new Chain(Org, $"run-{i:d2}", "s1")).ToList();
        var appends = chains.Select((chain, i) => node.Log.Append(chain.Commit(i == 41 ? "before \0 after" : "fine"), None).AsTask()).ToList();
        await Assert.ThrowsAsync<InvalidOperationException>(() => appends[41]);
        for (var i = 0; i < appends.Count; i++)
        {
            if (i != 41)
            {
                Assert.IsType<AppendResult.Ok>(await appends[i]);
            }
        }
        Assert.Equal(99, (await AssertLedger(node)).Count);
        Assert.Equal(0, (await node.Log.Load(Org, "run-41", 0, 10, None)).Version);
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new Chain(Org, "run-41", "s1").Commit("fine"), None));
    }

    [Fact]
    public async Task Two_nodes_write_one_log()
    {
        var (heardA, heardB) = (new Heard(), new Heard());
        var (a, b) = (await Open("a", heardA), await Open("b", heardB));
        using var done = new CancellationTokenSource();
        var reader = Follow(b, new("s1"), done.Token);

        await Task.WhenAll(
            Task.WhenAll(Enumerable.Range(0, 8).Select(w => AppendWithRetries(w % 2 == 0 ? a : b, "run-hot", "s1", 10, w))),
            Task.WhenAll(Enumerable.Range(0, 16).Select(async w =>
            {
                var node = w % 2 == 0 ? a : b;
                var chain = new Chain(Org, $"run-{w}", w % 4 < 2 ? "s1" : "s2");
                for (var i = 0; i < 25; i++)
                {
                    Assert.IsType<AppendResult.Ok>(await node.Log.Append(chain.Commit("text"), None));
                }
            })));
        await done.CancelAsync();

        var log = await AssertLedger(a);
        Assert.Equal((8 * 10) + (16 * 25), log.Count);
        Assert.Equal(log.Count, heardA.Entries.Count + heardB.Entries.Count);
        Assert.Equal(log.Select(e => e.Position), heardA.Entries.Concat(heardB.Entries).Select(e => e.Position).Order());
        var feed = await a.Log.Feed(Org, new("s1"), 0, int.MaxValue, None);
        Assert.Equal(feed.Entries.Select(e => e.Id), await reader);

        var (toldA, toldB) = (heardA.Others, heardB.Others);
        await a.Log.Append(new Chain(Org, "run-last-a").Commit("text"), None);
        await Patience.Until(() => heardB.Others > toldB, "the other node hears of a write");
        await b.Log.Append(new Chain(Org, "run-last-b").Commit("text"), None);
        await Patience.Until(() => heardA.Others > toldA, "the other node hears of a write");
    }

    [Fact]
    public async Task A_stream_that_another_node_wrote_to_has_moved_or_goes_on()
    {
        var (a, b) = (await Open("a"), await Open("b"));
        var chain = new Chain(Org, "run-1", "s1");
        await a.Log.Append(chain.Commit("from a"), None);
        await b.Log.Append(chain.Commit("from b, right after"), None);
        var stale = new Chain(Org, "run-1", "s1");
        _ = stale.Next("from a");
        Assert.Equal(new AppendResult.Moved("run-1"), await a.Log.Append(stale.Commit("from a, late"), None));
        Assert.Equal(new AppendResult.Ok(3), await a.Log.Append(chain.Commit("from a, knowing"), None));
        Assert.Equal(new AppendResult.Moved("run-1"), await b.Log.Append(new Chain(Org, "run-1", "s1").Commit("as if new"), None));
        await AssertLedger(b);
    }

    /// <summary>Reads, decides and writes again until it was first, as the application does without its gate.</summary>
    protected static async Task AppendWithRetries(Node node, string stream, string session, int times, int writer)
    {
        var chain = new Chain(Org, stream, session);
        for (var done = 0; done < times;)
        {
            await chain.Reload(node.Log);
            switch (await node.Log.Append(chain.Commit($"by {writer}"), None))
            {
                case AppendResult.Ok:
                    done++;
                    break;
                case AppendResult.Moved:
                    break;
            }
        }
    }

    /// <summary>Polls a feed until told that all is written, and a last time then.</summary>
    static async Task<List<Guid>> Follow(Node node, SessionKey? session, CancellationToken done)
    {
        var seen = new List<Guid>();
        var last = 0L;
        await Task.Yield();
        while (true)
        {
            var final = done.IsCancellationRequested;
            var page = await node.Log.Feed(Org, session, last, 50, None);
            seen.AddRange(page.Entries.Select(e => e.Id));
            last = page.Entries.Count == 0 ? last : session is null ? page.Entries[^1].Position : page.Entries[^1].FeedId;
            if (page.Entries.Count == 0 && final)
            {
                return seen;
            }
            if (page.Entries.Count == 0)
            {
                // In memory all is answered at once, and a reader without a pause would keep a thread from whoever writes.
                await Task.Delay(1, CancellationToken.None);
            }
        }
    }
}
