using Cowork.Application.Storage;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Whose jobs a node does when it cannot do all of them: ten slots, of which one tenant alone has eight.</summary>
public abstract partial class StorageContract
{
    const string Greedy = "greedy";

    [Theory]
    [InlineData(false)] // claimed by the commit
    [InlineData(true)] // found by a look
    public async Task A_tenant_alone_has_four_fifths_of_the_slots_and_the_first_job_of_another_starts_at_once(bool found)
    {
        Parallel = 10;
        var node = await Open("a");
        await using var worker = new Worker(node);
        var first = await Fill(node, worker, 30, found);
        Assert.Equal(8, first.Count);
        await SubmitAs("quiet", node, "run-q", Job("q", found));
        Assert.Equal("q", (await worker.Next()).Key);
        await SubmitAs("silent", node, "run-s", Job("s", found));
        Assert.Equal("s", (await worker.Next()).Key);
        await SubmitAs("late", node, "run-l", Job("l", found));
        await worker.AssertNothing();
        await node.Jobs.Complete(first[0], None);
        Assert.Equal("l", (await worker.Next()).Key); // before the thousandth of the one that has many
        await node.Jobs.Complete(first[1], None);
        await worker.AssertNothing(); // that slot is kept
        await AssertLedger(node);
    }

    [Fact]
    public async Task A_tenant_with_thousands_of_jobs_that_wait_hides_nobody_elses()
    {
        Parallel = 10;
        var node = await Open("a");
        await using var worker = new Worker(node);
        var many = Enumerable.Range(0, 3_000).Select(i => new Job("run", $"{i}")).ToArray();
        await SubmitAs(Greedy, node, "run-many", many);
        for (var i = 0; i < 8; i++)
        {
            await worker.Next();
        }
        await SubmitAs("quiet", node, "run-q", Job("q", found: true), Job("r", found: true), Job("t", found: true));
        Assert.Equal("q", (await worker.Next()).Key);
        await worker.AssertNothing();
    }

    [Fact]
    public async Task Each_node_keeps_a_slot_for_the_tenants_that_have_none()
    {
        Parallel = 10;
        var (a, b) = (await Open("a"), await Open("b"));
        await using Worker left = new(a), right = new(b);
        await SubmitAs(Greedy, a, "run-many", [.. Enumerable.Range(0, 40).Select(i => new Job("run", $"{i}"))]);
        for (var i = 0; i < 8; i++)
        {
            await left.Next();
            await right.Next();
        }
        await left.AssertNothing();
        await right.AssertNothing();
        await SubmitAs("quiet", b, "run-q", Job("q", found: false));
        Assert.Equal("q", (await right.Next()).Key);
        await SubmitAs("silent", a, "run-s", Job("s", found: false));
        Assert.Equal("s", (await left.Next()).Key);
    }

    [Fact]
    public async Task Of_a_tenant_that_has_its_share_the_job_that_has_waited_longest_comes_next()
    {
        Parallel = 10;
        var node = await Open("a");
        await using var worker = new Worker(node);
        var first = await Fill(node, worker, 10, found: false);
        // A session whose run has ended asks for its next one, behind the other sessions' that wait.
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Greedy, [], [new("run", "next")], first[0], Chain.By), None));
        Assert.Equal("8", (await worker.Next()).Key);
        await node.Jobs.Complete(first[1], None);
        Assert.Equal("9", (await worker.Next()).Key);
        await node.Jobs.Complete(first[2], None);
        Assert.Equal("next", (await worker.Next()).Key);
    }

    [Fact]
    public async Task A_tenant_that_has_its_share_is_not_admitted_and_another_is()
    {
        Parallel = 10;
        var node = await Open("a");
        await using var worker = new Worker(node);
        (await Admitted(node)).Dispose();
        await Fill(node, worker, 8, found: false);
        Assert.Null(node.Jobs.Admit(Greedy, "run"));
        Assert.NotNull(node.Jobs.Admit(Greedy, "other"));
        using var room = node.Jobs.Admit("quiet", "run");
        Assert.NotNull(room);
        Assert.Null(node.Jobs.Admit("quiet", "run"));
        Assert.NotNull(node.Jobs.Admit("silent", "run"));
        Assert.Null(node.Jobs.Admit("late", "run"));
        await SubmitAs("quiet", node, "run-q", new Job("run", "q", Epoch: room.Epoch));
        Assert.Equal(room.Epoch, (await worker.Next()).Epoch);
    }

    static Job Job(string key, bool found) => new("run", key, found ? TimeProvider.System.GetUtcNow().AddSeconds(-1) : null);

    /// <summary>Gives the greedy tenant jobs, and answers those that the worker got.</summary>
    static async Task<List<Claim>> Fill(Node node, Worker worker, int count, bool found)
    {
        for (var i = 0; i < count; i++)
        {
            await SubmitAs(Greedy, node, $"run-{i}", Job($"{i}", found));
        }
        var claims = new List<Claim>();
        while (claims.Count < Math.Min(count, 8))
        {
            claims.Add(await worker.Next());
        }
        await worker.AssertNothing();
        return claims;
    }
}
