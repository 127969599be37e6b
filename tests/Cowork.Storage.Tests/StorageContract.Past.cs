using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Rows as they were at a position, and positions by time and event.</summary>
public abstract partial class StorageContract
{
    static readonly string Lives = Chain.Lives.Table;

    protected static Chain Life(string stream, string org = Org) => new(org, $"run-{stream}", also: Chain.Lives);

    static RowsAsOf AsOf(Node node, long position, string? viewer = null) =>
        new(node.Rows, new(node.Log, node.Snapshots, new InMemoryBlobs(), [Chain.Lives], TimeProvider.System, CronTimes.Next), [Chain.Lives], position, viewer);

    /// <summary>All that can be asked of the rows of a scope.</summary>
    static async Task<string> Lived(IRows rows, int chains)
    {
        static string Of(IEnumerable<Row> rows) => string.Join(',', rows.Select(r => $"{r.Key}@{r.Created} {Chain.Lives.Read(r.Json.Span)}"));
        var page = await rows.Page(Org, Lives, new("s", Limit: 2), 1, None);
        var many = await rows.Page(Org, Lives, new("s", "many", Limit: 1), 0, None);
        return string.Join(
            '\n', Of(await rows.List(Org, Lives, new("s"), None)), Of(await rows.List(Org, Lives, new("s", "few", Limit: 2), None)),
            $"{page.Total} {Of(page.Rows)}", $"{many.Total} {Of(many.Rows)}", Of(await rows.List(Org, Lives, new("s") { Having = ("Text", "odd") }, None)),
            Of((await rows.Get(Org, Lives, [.. Enumerable.Range(0, chains).Select(i => $"{i}")], None)).OrderBy(r => r.Key)));
    }

    [Fact]
    public async Task Rows_as_of_every_position_are_what_they_were()
    {
        foreach (var seed in Seeds.Many(ordinary: 2, chaos: 50))
        {
            var (random, node) = (new Random(seed), await Open($"past-{seed}"));
            var head = (await node.Log.Feed(Org, null, long.MaxValue - 1, 1, None)).Head;
            var first = head;
            var (lives, other, shown) = (new List<Chain>(), Life($"other-{seed}", "other"), new List<(long Position, string Shown)>());
            // A scope of the other tenant, which must not show.
            await node.Log.Append(other.Commit("begins"), None);
            head++;
            for (var step = 0; step < 40; step++)
            {
                var chain = lives.Count == 0 || random.Next(4) == 0 ? Life($"{lives.Count + (seed * 1_000)}") : lives[random.Next(lives.Count)];
                if (!lives.Contains(chain))
                {
                    lives.Add(chain);
                }
                string[] texts = random.Next(6) switch { 0 => ["gone"], 1 => ["odd"], 2 => ["even", "gone"], 3 => ["odd", "even"], _ => ["even"] };
                await node.Log.Append(chain.Commit(texts), None);
                head += texts.Length;
                shown.Add((head, await Lived(node.Rows, 0)));
            }
            foreach (var (position, was) in shown)
            {
                Assert.Equal($"{seed} {position}\n{was}", $"{seed} {position}\n{await Lived(AsOf(node, position), 0)}");
            }
            Assert.Empty(await AsOf(node, 0).List(Org, Lives, new("s"), None));
            // What was deleted is seen by its owner, and by who sees all.
            Assert.Equal(await Lived(AsOf(node, head), 0), await Lived(AsOf(node, head, "nobody"), 0));
            var gone = shown.First(s => s.Position > first && s.Shown != shown[^1].Shown).Position;
            Assert.Equal(await Lived(AsOf(node, gone), 0), await Lived(AsOf(node, gone, "s"), 0));
            // A rebuild finds the deleted ones again.
            await node.Rows.Rebuild(Chain.Lives, None);
            Assert.Equal(shown[20].Shown, await Lived(AsOf(node, shown[20].Position), 0));
            Assert.Null(await node.Rows.FindDifference(Chain.Lives, None));
            foreach (var chain in lives)
            {
                await node.Log.Append(chain.Commit("gone"), None);
            }
        }
    }

    [Fact]
    public async Task Positions_are_found_by_time_and_by_event()
    {
        var node = await Open("a");
        Assert.Equal(0, await node.Positions.Head(None));
        Assert.Equal(0, await node.Positions.At(DateTimeOffset.MaxValue.AddDays(-1), None));
        var (chain, theirs) = (new Chain(Org, "run-1"), new Chain("other", "run-2"));
        foreach (var round in Enumerable.Range(0, 9))
        {
            await node.Log.Append(chain.Commit("one", "two"), None);
            await node.Log.Append(theirs.Commit("three", "four"), None);
        }
        Assert.Equal(36, await node.Positions.Head(None));
        var log = new List<RecordedEvent>();
        await foreach (var e in node.Log.Scan(0, None))
        {
            log.Add(e);
        }
        foreach (var e in log)
        {
            Assert.Equal(e.Position, await node.Positions.Of(e.Org, e.Id, None));
            Assert.Null(await node.Positions.Of(e.Org == Org ? "other" : Org, e.Id, None));
            Assert.Equal(log.Last(other => other.At <= e.At).Position, await node.Positions.At(e.At, None));
        }
        Assert.Equal(0, await node.Positions.At(Chain.Start, None));
        Assert.Equal(36, await node.Positions.At(Chain.Start.AddYears(1), None));
        Assert.Null(await node.Positions.Of(Org, Guid.Empty, None));
        Assert.Null(await node.Positions.Of(Org, Cowork.Domain.Ids.NewEventId(Chain.Start.AddMilliseconds(3)), None));
    }
}
