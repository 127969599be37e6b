using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.Logging.Abstractions;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>When heads are signed, by which of several hosts, and when none is.</summary>
public sealed class HeadSignerSpecs
{
    static readonly HeadSettings Settings = HeadSettings.Default with { Publish = true };
    static readonly CancellationToken None = CancellationToken.None;

    readonly TestClock clock = new();
    readonly InMemoryEngine engine;
    readonly MasterKey master = MasterKey.New();
    readonly Chain chain = new("acme", "run-1", "s1", "1");

    public HeadSignerSpecs() => engine = new([.. ReadModels.Tables, Chain.Tallies, Chain.Marks], clock);

    /// <summary>What a host remembers of heads, which outlives the database.</summary>
    sealed class Remembered : IHeadMemory
    {
        public SignedHead? Last { get; private set; }

        public string Place => "memory";

        public void Keep(SignedHead head) => Last = head;
    }

    sealed record Host(AuditTree Tree, HeadSigner Signer, AuditHeadLog Heads, Remembered Memory, HeadPublisher Publisher, Target Target, CommandHandler Commands);

    /// <summary>A place that takes heads, or does not.</summary>
    sealed class Target : IHeadTarget
    {
        public List<long> Taken { get; } = [];

        public List<HeadLine> Lines { get; } = [];

        public bool IsAway { get; set; }

        public string Name => "place";

        public ValueTask<long?> Last(CancellationToken ct) => default;

        public ValueTask Send(HeadLine head, CancellationToken ct)
        {
            if (IsAway)
            {
                throw new HeadNotTakenException("It is away.");
            }
            Taken.Add(head.Number);
            Lines.Add(head);
            return default;
        }
    }

    Host NewHost()
    {
        var handler = new CommandHandler(
            engine.AddNode(Ids.NewKey(clock.GetUtcNow()), new CommitObservers(() => []), TimeSpan.FromSeconds(10), []), engine, new InMemoryBlobs(), ReadModels.All, clock, CronTimes.Next);
        var operators = new OperatorsTenant("default");
        var masters = new MasterKeyring([master], "the spec");
        var keys = new SigningKeyring(handler, handler, masters, new(handler, handler, masters, operators, clock), operators, clock);
        var (tree, heads, memory) = (new AuditTree(engine, clock, NullLogger<AuditTree>.Instance), new AuditHeadLog(engine, operators), new Remembered());
        var target = new Target();
        return new(
            tree, new(tree, heads, keys, handler, operators, memory, Settings, clock, NullLogger<HeadSigner>.Instance), heads, memory, new(heads, engine, engine, [target]), target,
            handler);
    }

    [Fact]
    public async Task Events_are_covered_after_a_while_and_a_log_with_nothing_new_gets_no_head()
    {
        var host = NewHost();
        using var stop = new CancellationTokenSource();
        var running = Task.WhenAll(host.Tree.Run(stop.Token), host.Signer.Run(stop.Token));
        await Append(3);
        host.Tree.OthersWrote();
        Assert.True(await Passes(host, TimeSpan.FromMinutes(1), heads: 1));
        var first = (await host.Heads.Latest(None))!;
        Assert.Equal(3, first.Head.TreeSize);
        // The key and the head itself are events: the key is news, and the head that follows it has none.
        Assert.True(await Passes(host, TimeSpan.FromMinutes(1), heads: 2));
        Assert.False(await Passes(host, TimeSpan.FromMinutes(10), heads: 3));
        await Append(1);
        Assert.True(await Passes(host, TimeSpan.FromMinutes(1), heads: 3));
        await stop.CancelAsync();
        await running;
    }

    [Fact]
    public async Task Many_events_get_a_head_before_the_while_is_over()
    {
        var host = NewHost();
        using var stop = new CancellationTokenSource();
        await Append(HeadSettings.EventsMax + 500);
        var running = Task.WhenAll(host.Signer.Run(stop.Token), host.Tree.Run(stop.Token));
        await Patience.Until(async () => await host.Heads.Latest(None) is not null);
        Assert.InRange((await host.Heads.Latest(None))!.Head.TreeSize, 1, HeadSettings.EventsMax + 500);
        await stop.CancelAsync();
        await running;
    }

    [Fact]
    public async Task Of_hosts_that_sign_at_once_one_head_gets_into_the_log()
    {
        Host[] hosts = [NewHost(), NewHost(), NewHost()];
        await Append(5);
        for (var round = 1; round <= 4; round++)
        {
            await Task.WhenAll(hosts.Select(host => host.Tree.CatchUp(None)));
            await Task.WhenAll(hosts.Select(host => Task.Run(() => host.Signer.Sign(None))));
            await Append(2);
        }
        var heads = await hosts[0].Heads.After(0, 100, None);
        Assert.Equal(heads.Select(head => head.Head.TreeSize).Distinct(), heads.Select(head => head.Head.TreeSize));
        Assert.Equal(4, heads.Count);
        foreach (var position in (long[])[1, heads[1].Head.TreeSize, heads[1].Head.TreeSize + 1, heads[3].Head.TreeSize])
        {
            Assert.Equal(heads.First(head => head.Head.TreeSize >= position), await hosts[1].Heads.Covering(position, None));
        }
        Assert.Null(await hosts[1].Heads.Covering(heads[3].Head.TreeSize + 1, None));
    }

    [Fact]
    public async Task A_log_that_is_not_the_one_that_was_signed_is_not_signed()
    {
        var host = NewHost();
        await Append(40);
        await host.Tree.CatchUp(None);
        await host.Signer.Sign(None);
        Assert.Null(host.Signer.Progress.Fault);
        await Append(3);
        await host.Tree.CatchUp(None);
        var tile = (await engine.Tiles([new(0, 0)], None))[new(0, 0)].ToArray();
        tile[5] ^= 1;
        await engine.Replace([new(new(0, 0), tile)], None);
        // The node above the leaves is the tile's hash: the forger makes the tree as it must be.
        var above = (await engine.Tiles([new(1, 0)], None))[new(1, 0)].ToArray();
        MerkleTree.HashOfSubtree(tile).CopyTo(above, 0);
        await engine.Replace([new(new(1, 0), above)], None);
        await host.Signer.Sign(None);
        Assert.Contains("are not those of the head", host.Signer.Progress.Fault, StringComparison.Ordinal);
        Assert.Single(await host.Heads.After(0, 10, None));

        var older = NewHost();
        older.Memory.Keep(new(1_000, new('a', 64), clock.GetUtcNow(), "kid", "a.b.c"));
        await older.Tree.CatchUp(None);
        await older.Signer.Sign(None);
        Assert.NotNull(older.Signer.Progress.Fault);
    }

    [Fact]
    public async Task On_top_of_a_head_that_no_key_signed_none_is_signed()
    {
        var host = NewHost();
        await Append(3);
        await host.Tree.CatchUp(None);
        await host.Signer.Sign(None);
        var last = (await host.Heads.Latest(None))!.Head;
        await Append(2);
        await host.Tree.CatchUp(None);
        // Everything of it is right but what a key is needed for.
        var size = host.Tree.Progress.Size;
        var made = last with { TreeSize = size, RootHash = Convert.ToHexStringLower(await host.Tree.Tiles.Root(size, None)) };
        Assert.Null((await host.Commands.Execute("default", new("user:eve"), new SignHead(made, last.TreeSize, Publish: false), None)).Refused);
        await host.Tree.CatchUp(None);
        await host.Signer.Sign(None);
        Assert.Contains("was not signed by a host", host.Signer.Progress.Fault, StringComparison.Ordinal);
        Assert.Equal(2, (await host.Heads.Latest(None))!.Number);
    }

    [Fact]
    public async Task A_place_gets_every_head_in_its_order_also_those_that_it_did_not_take_at_first()
    {
        var host = NewHost();
        var claim = new Claim("default", HeadPublisher.JobKind, "publish", 1);
        for (var round = 0; round < 5; round++)
        {
            await Append(2);
            await host.Tree.CatchUp(None);
            await host.Signer.Sign(None);
            host.Target.IsAway = round is 1 or 2;
            if (host.Target.IsAway)
            {
                await Assert.ThrowsAsync<HeadNotTakenException>(() => host.Publisher.Run(claim, None));
                Assert.Equal("It is away.", host.Publisher.Progress[0].Error);
            }
            else
            {
                Assert.False(await host.Publisher.Run(claim, None));
                Assert.Null(host.Publisher.Progress[0].Error);
            }
        }
        Assert.Equal([1, 2, 3, 4, 5], host.Target.Taken);
        // Each comes with the proof that its tree begins with that of the head before it, which whoever has both checks without a service.
        Assert.Null(host.Target.Lines[0].Consistency);
        foreach (var (before, head) in host.Target.Lines.Zip(host.Target.Lines.Skip(1)))
        {
            var read = HeadLine.Parse(head.ToJson())!;
            Assert.True(read.Is(head));
            Assert.True(read.Extends(before));
            Assert.False(read.Extends(before with { RootHash = new('0', 64) }));
            Assert.False((read with { Consistency = [.. read.Consistency!, "x"] }).Extends(before));
            Assert.Null((read with { Consistency = null }).Extends(before));
        }
        Assert.Equal(2, host.Publisher.Progress[0].Failures);
        Assert.Contains(engine.Jobs, job => job.Kind == HeadPublisher.JobKind);
    }

    async Task Append(int events)
    {
        for (var left = events; left > 0; left -= 500)
        {
            Assert.IsType<AppendResult.Ok>(await engine.Append(chain.Commit([.. Enumerable.Repeat("text", Math.Min(left, 500))]), None));
        }
    }

    /// <summary>Lets time pass until there are so many heads. False: there are not after it.</summary>
    async Task<bool> Passes(Host host, TimeSpan time, int heads)
    {
        for (var passed = TimeSpan.Zero; passed < time; passed += TimeSpan.FromSeconds(1))
        {
            await Patience.Until(() => clock.IsWaiting(TimeSpan.FromSeconds(1)));
            clock.Advance(TimeSpan.FromSeconds(1));
            host.Tree.OthersWrote();
            await Task.Yield();
            if ((await host.Heads.Latest(None))?.Number >= heads)
            {
                return true;
            }
        }
        return (await host.Heads.Latest(None))?.Number >= heads;
    }
}
