using Cowork.Application;
using Cowork.Domain;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Commands that write several streams at once, which others write to as well: each gets its turn.</summary>
public abstract partial class StorageContract
{
    /// <summary>Drivers of runs write to one stream each, without a pause, while a session that is deleted must write to all of them.</summary>
    [Theory]
    [InlineData(8, 1)]
    [InlineData(3, 2)]
    public async Task A_commit_to_many_streams_gets_its_turn_beside_writers_that_never_pause(int streams, int seed)
    {
        const int Commits = 15;
        seed = Seeds.One(seed);
        var node = await Open("a");
        var commands = CommandsOf(node);
        var keys = await SessionsOf(commands, streams);
        using var done = new CancellationTokenSource();
        var writers = keys.Select(async key =>
        {
            for (var i = 0; !done.IsCancellationRequested; i++)
            {
                Assert.Null(await Change(commands, [key], $"{i}"));
            }
        }).ToList();
        var random = new Random(seed);
        var (tries, refused) = (0, 0);
        for (var i = 0; i < Commits; i++)
        {
            var order = keys.ToArray();
            random.Shuffle(order);
            refused += await Change(commands, order, $"all {i}", () => tries++) is null ? 0 : 1;
        }
        await done.CancelAsync();
        await Task.WhenAll(writers);
        TestContext.Current.TestOutputHelper?.WriteLine($"{tries} tries for {Commits} commits");
        Assert.True(refused == 0, $"{Seeds.Name(seed)}: {refused} of {Commits} commits were refused after {tries} tries");
        await AssertLedger(node);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    public async Task Commits_to_overlapping_streams_in_any_order_all_get_their_turn(int nodes, int seed)
    {
        const int Writers = 16;
        const int Commits = 8;
        seed = Seeds.One(seed);
        var opened = new List<Node>();
        for (var i = 0; i < nodes; i++)
        {
            opened.Add(await Open($"{(char)('a' + i)}"));
        }
        var handlers = opened.Select(CommandsOf).ToList();
        var keys = await SessionsOf(handlers[0], 4);
        var tries = 0;
        var refused = await Task.WhenAll(Enumerable.Range(0, Writers).Select(async w =>
        {
            var random = new Random((seed * 1000) + w);
            var failed = 0;
            for (var i = 0; i < Commits; i++)
            {
                var order = keys.ToArray();
                random.Shuffle(order);
                failed += await Change(handlers[w % nodes], order[..random.Next(1, 4)], $"{w} {i}", () => Interlocked.Increment(ref tries)) is null ? 0 : 1;
            }
            return failed;
        }));
        TestContext.Current.TestOutputHelper?.WriteLine($"{tries} tries for {Writers * Commits} commits");
        Assert.True(refused.Sum() == 0, $"{Seeds.Name(seed)}: {refused.Sum()} of {Writers * Commits} commits were refused after {tries} tries");
        await AssertLedger(opened[0]);
    }

    static CommandHandler CommandsOf(Node node) => new(node.Log, node.Snapshots, new InMemoryBlobs(), [], TimeProvider.System, CronTimes.Next);

    static async Task<List<SessionKey>> SessionsOf(CommandHandler commands, int count)
    {
        var keys = Enumerable.Range(0, count).Select(i => new SessionKey($"s{i}")).ToList();
        foreach (var key in keys)
        {
            Assert.Null(await commands.Commit(
                Org, Chain.By, work => work.Do(Session.Aggregate, key, new SessionCommand.Create(key, "/w", "{}", null, work.Now), key, isNew: true), None));
        }
        return keys;
    }

    /// <summary>Gives sessions another title with one commit.</summary>
    static ValueTask<Refusal?> Change(CommandHandler commands, IReadOnlyList<SessionKey> keys, string title, Action? tried = null) => commands.Commit(
        Org, Chain.By,
        async work =>
        {
            tried?.Invoke();
            foreach (var key in keys)
            {
                if (await work.Do(Session.Aggregate, key, new SessionCommand.Change(Content.Of(title), null, false, work.Now), key) is { } refused)
                {
                    return refused;
                }
            }
            return null;
        },
        None);
}
