using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;

using Xunit;

namespace Cowork.Testing;

/// <summary>One node of an engine.</summary>
/// <param name="Stop">Stops it as a host does that is told to.</param>
/// <param name="Pause">Stops its signs of life, or lets them go on.</param>
public sealed record Node(
    IEventLog Log, IRows Rows, ISnapshots Snapshots, ITokenUses TokenUses, IGroupStore Groups, IJobQueue Jobs, IAsyncProjectionStore AsyncProjections, Func<Task> Stop,
    Action<bool> Pause, IMerkleStore Merkle, IPositions Positions);

/// <summary>What specs of engines have in common: nodes on one database, and the check that holds after everything.</summary>
public abstract class StorageHarness : IAsyncLifetime
{
    protected static readonly TimeSpan Blink = TimeSpan.FromMilliseconds(300);

    protected const string Org = "default";

    protected static readonly TimeSpan Deadline = Patience.Limit;

    /// <summary>Short enough for a test, long enough for a loaded machine.</summary>
    protected static readonly TimeSpan Lease = TimeSpan.FromSeconds(3);

    /// <summary>Jobs of each kind that the nodes of this test do at once.</summary>
    protected int Parallel { get; set; } = 1_000;

    /// <summary>Another node on the data of this test.</summary>
    protected abstract Task<Node> Open(string name, ICommitObserver? observer = null, params string[] dead);

    public abstract ValueTask InitializeAsync();

    public abstract ValueTask DisposeAsync();

    protected static CancellationToken None => CancellationToken.None;

    protected static Node NodeOf(StorageEngine engine) =>
        new(
            engine.Log, engine.Rows, engine.Snapshots, engine.TokenUses, engine.Groups, engine.Jobs, engine.AsyncProjections, () => engine.DisposeAsync().AsTask(),
            paused => engine.Heartbeat.IsPaused = paused, engine.Merkle, engine.Positions);

    /// <summary>The ledger check of faults.md: dense positions, dense feeds in the order of the log, versions, hash chains, rows as the log makes them.</summary>
    protected static async Task<List<RecordedEvent>> AssertLedger(Node node)
    {
        var log = new List<RecordedEvent>();
        var last = new Dictionary<(string, string), RecordedEvent>();
        await foreach (var e in node.Log.Scan(0, None))
        {
            log.Add(e);
            Assert.Equal(log.Count, e.Position);
            var before = last.GetValueOrDefault((e.Org, e.Stream));
            Assert.Equal((before?.Version ?? 0) + 1, e.Version);
            Assert.Equal(HashChain.Next(before?.Hash ?? HashChain.Root, e.Org, e.Stream, e.Version, e.Id, e.Type, e.At, e.Actor, CanonicalJson.Of(e.Data.Span)), e.Hash);
            last[(e.Org, e.Stream)] = e;
        }
        foreach (var org in log.Select(e => e.Org).Distinct())
        {
            var tenant = await node.Log.Feed(org, null, 0, int.MaxValue, None);
            Assert.Equal(log.Where(e => e.Org == org).Select(e => e.Position), tenant.Entries.Select(e => e.Position));
            foreach (var session in tenant.Entries.Select(e => e.Session).OfType<SessionKey>().Distinct())
            {
                var feed = await node.Log.Feed(org, session, 0, int.MaxValue, None);
                Assert.Equal(Enumerable.Range(1, feed.Entries.Count).Select(i => (long)i), feed.Entries.Select(e => e.FeedId));
                Assert.Equal(tenant.Entries.Where(e => e.Session == session).Select(e => e.Position), feed.Entries.Select(e => e.Position));
                Assert.Equal(feed.Entries.Count, feed.Head);
            }
        }
        Assert.Null(await node.Rows.FindDifference(Chain.Tallies, None));
        Assert.Null(await node.Rows.FindDifference(Chain.Marks, None));
        return log;
    }

    protected sealed class Heard : ICommitObserver
    {
        readonly List<FeedEntry> heard = [];
        int others;

        public List<FeedEntry> Entries
        {
            get
            {
                lock (heard)
                {
                    return [.. heard];
                }
            }
        }

        public int Others => Volatile.Read(ref others);

        public void Committed(IReadOnlyList<FeedEntry> entries)
        {
            lock (heard)
            {
                heard.AddRange(entries);
            }
        }

        public void OthersWrote() => Interlocked.Increment(ref others);
    }

    protected static Task Submit(Node node, string stream, params Job[] jobs) => SubmitAs(Org, node, stream, jobs);

    protected static async Task SubmitAs(string org, Node node, string stream, params Job[] jobs) =>
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(org, [new Chain(org, stream).Next("started")], jobs, null, Chain.By), None));

    /// <summary>Takes up what a node gets, and leaves the doing to the test.</summary>
    protected sealed class Worker : IAsyncDisposable
    {
        readonly ClaimQueue queue = new();
        readonly List<CancellationToken> lost = [];
        readonly IJobQueue jobs;

        public Worker(Node node)
        {
            jobs = node.Jobs;
            jobs.StartDispatching(queue);
        }

        public List<CancellationToken> LostTokens
        {
            get
            {
                lock (lost)
                {
                    return [.. lost];
                }
            }
        }

        public async Task<Claim> Next()
        {
            var (claim, found) = await TryNext(Deadline);
            return found ? claim : throw new TimeoutException($"No job within {Deadline}.");
        }

        public async Task<(Claim Claim, bool Found)> TryNext(TimeSpan within)
        {
            using var deadline = new CancellationTokenSource(within);
            try
            {
                while (true)
                {
                    var claim = await queue.Claims.ReadAsync(deadline.Token);
                    if (jobs.LeaseOf(claim) is { } lease)
                    {
                        lock (lost)
                        {
                            lost.Add(lease);
                        }
                        return (claim, true);
                    }
                }
            }
            catch (OperationCanceledException)
            {
                return (default!, false);
            }
        }

        public async Task AssertNothing()
        {
            var (claim, found) = await TryNext(Blink);
            Assert.False(found, $"There should be nothing to do, but there is {claim}.");
        }

        public async ValueTask DisposeAsync()
        {
            jobs.StopDispatching();
            while (queue.Claims.TryRead(out var claim))
            {
                await jobs.Release(claim, TimeSpan.Zero, None);
            }
        }
    }
}
