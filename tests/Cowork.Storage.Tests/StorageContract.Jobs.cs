using System.Collections.Concurrent;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

public abstract partial class StorageContract
{
    [Fact]
    public async Task Jobs_are_counted_by_whether_they_wait_are_held_or_are_not_due()
    {
        var node = await Open("a");
        Assert.Equal(new Backlog(0, 0, 0), await node.Jobs.Backlog(None));
        var now = TimeProvider.System.GetUtcNow();
        await Submit(node, "run-1", new("k", "1", now.AddMinutes(-1)), new("k", "2", now.AddHours(1)), new("k", "3", now.AddHours(1)));
        Assert.Equal(new Backlog(1, 0, 2), await node.Jobs.Backlog(None));
        await using var worker = new Worker(node);
        var claim = await worker.Next();
        Assert.Equal(new Backlog(0, 1, 2), await node.Jobs.Backlog(None));
        await node.Jobs.Complete(claim, None);
        Assert.Equal(new Backlog(0, 0, 2), await node.Jobs.Backlog(None));
    }

    [Fact]
    public async Task Jobs_are_counted_by_kind_with_the_times_of_the_one_that_waits_longest_and_of_the_next()
    {
        var node = await Open("a");
        Assert.Empty(await node.Jobs.BacklogByKind(None));
        var now = TimeProvider.System.GetUtcNow();
        var (early, soon) = (Whole(now.AddMinutes(-2)), Whole(now.AddHours(1)));
        await Submit(
            node, "run-1", new("k", "1", early), new("k", "2", Whole(now.AddMinutes(-1))), new("k", "3", soon), new("k", "4", Whole(now.AddHours(2))), new("a", "1", soon));
        Assert.Equal(
            [new KindBacklog("a", 0, 0, 1, 0, null, soon), new KindBacklog("k", 2, 0, 2, 0, early, soon)], await node.Jobs.BacklogByKind(None));
        await using var worker = new Worker(node);
        await worker.Next();
        await worker.Next();
        Assert.Equal(new KindBacklog("k", 0, 2, 2, 0, null, soon), (await node.Jobs.BacklogByKind(None))[1]);

        static DateTimeOffset Whole(DateTimeOffset time) => DateTimeOffset.FromUnixTimeMilliseconds(time.ToUnixTimeMilliseconds());
    }

    [Fact]
    public async Task A_committed_job_is_handed_over_once_and_gone_when_done()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        var claim = await worker.Next();
        Assert.Equal((Org, "run", "1"), (claim.Org, claim.Kind, claim.Key));
        await node.Jobs.Complete(claim, None);
        await node.Jobs.Complete(claim, None);
        await Submit(node, "run-2", new Job("run", "2"));
        Assert.Equal("2", (await worker.Next()).Key);
        await worker.AssertNothing();
    }

    [Fact]
    public async Task A_job_that_was_there_before_anybody_worked_is_found()
    {
        var node = await Open("a");
        await Submit(node, "run-1", new Job("run", "1"));
        await using var worker = new Worker(node);
        Assert.Equal("1", (await worker.Next()).Key);
    }

    [Fact]
    public async Task A_job_is_finished_with_a_commit()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        var claim = await worker.Next();
        var chain = new Chain(Org, "run-x");
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Org, [chain.Next("done")], [new("run", "2")], claim, Chain.By), None));
        Assert.Equal("2", (await worker.Next()).Key);
        Assert.IsType<AppendResult.Fenced>(await node.Log.Append(new(Org, [chain.Next("done twice")], [], claim, Chain.By), None));
        Assert.Equal(1, (await node.Log.Load(Org, "run-x", 0, 10, None)).Version);
        await worker.AssertNothing();
    }

    [Fact]
    public async Task A_commit_of_jobs_alone_is_one_too()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        Assert.Equal(new AppendResult.Ok(0), await node.Log.Append(new(Org, [], [new("run", "1"), new("other", "1")], null, Chain.By), None));
        var claims = new[] { await worker.Next(), await worker.Next() };
        Assert.Equal(["other", "run"], claims.Select(c => c.Kind).Order());
        Assert.Equal(new AppendResult.Ok(0), await node.Log.Append(new(Org, [], [], claims[0], Chain.By), None));
        Assert.IsType<AppendResult.Fenced>(await node.Log.Append(new(Org, [], [], claims[0], Chain.By), None));
    }

    [Fact]
    public async Task A_refused_commit_starts_nothing()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        var first = await worker.Next();
        var stale = new Chain(Org, "run-1").Next("stale");
        Assert.IsType<AppendResult.Moved>(await node.Log.Append(new(Org, [stale], [new("run", "2")], first, Chain.By), None));
        await worker.AssertNothing();
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Org, [], [], first, Chain.By), None)); // the claim still stands
    }

    [Fact]
    public async Task A_job_waits_until_it_is_due()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        var due = TimeProvider.System.GetUtcNow() + TimeSpan.FromSeconds(1.5);
        await Submit(node, "run-1", new Job("later", "1", due));
        await worker.AssertNothing();
        await worker.Next();
        Assert.InRange(TimeProvider.System.GetUtcNow(), due - TimeSpan.FromMilliseconds(50), due + Deadline);
    }

    [Fact]
    public async Task A_job_that_waits_is_taken_back_with_a_commit()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        var due = TimeProvider.System.GetUtcNow() + TimeSpan.FromSeconds(1);
        await Submit(node, "run-1", new Job("later", "1", due), new Job("later", "2", due), new Job("other", "1", due), new Job("later", "3", due));
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Org, [new Chain(Org, "run-2").Next("decided")], [], null, Chain.By) { Cancelled = [("later", "1")] }, None));
        Assert.Equal(new AppendResult.Ok(0), await node.Log.Append(new(Org, [], [], null, Chain.By) { Cancelled = [("later", "3"), ("later", "never there")] }, None));
        Assert.Equal(new AppendResult.Ok(0), await node.Log.Append(new("another", [], [], null, Chain.By) { Cancelled = [("later", "2")] }, None));
        Assert.IsType<AppendResult.Moved>(
            await node.Log.Append(new(Org, [new Chain(Org, "run-2").Next("stale")], [], null, Chain.By) { Cancelled = [("later", "2")] }, None));
        var came = new[] { await worker.Next(), await worker.Next() };
        Assert.Equal([("later", "2"), ("other", "1")], came.Select(c => (c.Kind, c.Key)).Order());
        await worker.AssertNothing();
    }

    [Fact]
    public async Task A_job_that_somebody_is_at_is_his_to_finish()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        var claim = await worker.Next();
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Org, [], [], null, Chain.By) { Cancelled = [("run", "1")] }, None));
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Org, [], [], claim, Chain.By) { Cancelled = [("run", "1")] }, None));
        await worker.AssertNothing();
    }

    [Fact]
    public async Task A_job_that_was_taken_back_can_be_asked_for_again()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1", TimeProvider.System.GetUtcNow() + Lease));
        await Assert.ThrowsAsync<ArgumentException>(
            async () => await node.Log.Append(new(Org, [], [new("run", "1")], null, Chain.By) { Cancelled = [("run", "1")] }, None));
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Org, [], [], null, Chain.By) { Cancelled = [("run", "1")] }, None));
        await Submit(node, "run-2", new Job("run", "1"));
        await node.Jobs.Complete(await worker.Next(), None);
        await worker.AssertNothing();
    }

    [Fact]
    public async Task A_job_that_is_hurried_waits_no_longer()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        var due = TimeProvider.System.GetUtcNow().AddYears(10);
        await Submit(node, "run-1", new Job("later", "1", due));
        await Submit(node, "run-2", new Job("later", "2", due));
        await Submit(node, "run-3", new Job("much later", "3", due));
        await worker.AssertNothing();
        await node.Jobs.Hurry("later", None);
        var claims = new[] { await worker.Next(), await worker.Next() };
        Assert.Equal(["1", "2"], claims.Select(c => c.Key).Order());
        await worker.AssertNothing();
        // Whoever is at it is not disturbed.
        await node.Jobs.Hurry("later", None);
        await worker.AssertNothing();
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Org, [], [], claims[0], Chain.By), None));
    }

    [Fact]
    public async Task A_job_that_ends_its_claim_and_asks_for_itself_waits_until_it_is_due_again()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("later", "1"));
        var first = await worker.Next();
        var due = TimeProvider.System.GetUtcNow().AddMilliseconds(1_500);
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Org, [], [new("later", "1", due)], first, Chain.By), None));
        await worker.AssertNothing();
        Assert.True((await worker.Next()).Epoch > first.Epoch);
        Assert.InRange(TimeProvider.System.GetUtcNow(), due.AddMilliseconds(-50), due + Deadline);
    }

    [Fact]
    public async Task A_job_that_is_given_back_comes_again_with_a_higher_epoch()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        var first = await worker.Next();
        await node.Jobs.Release(first, TimeSpan.Zero, None);
        var second = await worker.Next();
        Assert.True(second.Epoch > first.Epoch);
        Assert.IsType<AppendResult.Fenced>(await node.Log.Append(new(Org, [new Chain(Org, "run-2").Next("late")], [], first, Chain.By), None));
        await node.Jobs.Release(second, TimeSpan.FromHours(1), None);
        await worker.AssertNothing();
    }

    [Fact]
    public async Task A_job_asked_for_while_somebody_is_at_it_is_done_again()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        var first = await worker.Next();
        await Submit(node, "run-2", new Job("run", "1"));
        await Submit(node, "run-3", new Job("run", "1"));
        await worker.AssertNothing();
        await node.Jobs.Complete(first, None);
        var second = await worker.Next();
        Assert.True(second.Epoch > first.Epoch);
        await Submit(node, "run-4", new Job("run", "1"));
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Org, [], [], second, Chain.By), None));
        await node.Jobs.Complete(await worker.Next(), None);
        await worker.AssertNothing();
    }

    [Fact]
    public async Task A_new_job_of_an_old_key_never_has_an_old_epoch()
    {
        var node = await Open("a");
        await using var worker = new Worker(node);
        var last = 0L;
        for (var i = 0; i < 5; i++)
        {
            await Submit(node, $"run-{i}", new Job("run", "1"));
            var claim = await worker.Next();
            Assert.True(claim.Epoch > last);
            last = claim.Epoch;
            await node.Jobs.Complete(claim, None);
        }
    }

    [Fact]
    public async Task A_job_that_was_admitted_is_claimed_under_the_epoch_that_it_was_given()
    {
        var (a, b) = (await Open("a"), await Open("b"));
        Assert.Null(a.Jobs.Admit(Org, "run"));
        await using var left = new Worker(a);
        var room = await Admitted(a);
        await Submit(a, "run-1", new Job("run", "1", Epoch: room.Epoch));
        room.Dispose();
        var first = await left.Next();
        Assert.Equal(room.Epoch, first.Epoch);
        using (var next = await Admitted(a))
        {
            Assert.NotEqual(room.Epoch, next.Epoch);
        }
        a.Jobs.StopDispatching();
        Assert.Null(a.Jobs.Admit(Org, "run"));
        await a.Jobs.Release(first, TimeSpan.Zero, None);
        await using var right = new Worker(b);
        Assert.True((await right.Next()).Epoch > first.Epoch);
    }

    [Fact]
    public async Task A_commit_may_come_back_to_a_stream()
    {
        var node = await Open("a");
        var (one, two) = (new Chain(Org, "run-1", "s", "1"), new Chain(Org, "run-2", "s", "2"));
        await node.Log.Append(one.Commit("before"), None);
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new(Org, [one.Next("a", "b"), two.Next("c"), one.Next("d")], [], null, Chain.By), None));
        Assert.Equal(
            [("run-1", 1L), ("run-1", 2L), ("run-1", 3L), ("run-2", 1L), ("run-1", 4L)],
            (await node.Log.Feed(Org, new SessionKey("s"), 0, 10, None)).Entries.Select(e => (e.Stream, e.Version)));
        // All of it or nothing, also when it is the second write to a stream that is behind the first.
        Write[] behind = [new Chain(Org, "run-3", "s", "3").Next("x"), new Chain(Org, "run-3", "s", "3").Next("y")];
        Assert.Equal(new AppendResult.Moved("run-3"), await node.Log.Append(new(Org, behind, [], null, Chain.By), None));
        Assert.Equal(0, (await node.Log.Load(Org, "run-3", 0, 10, None)).Version);
        await AssertLedger(node);
    }

    [Fact]
    public async Task A_commit_that_knows_the_log_up_to_a_position_is_refused_when_another_node_wrote_after_it()
    {
        var (a, b) = (await Open("a"), await Open("b"));
        var (mine, other) = (new Chain(Org, "run-1"), new Chain(Org, "run-2"));
        await a.Log.Append(mine.Commit("one"), None);
        // What it wrote itself it knows.
        Assert.IsType<AppendResult.Ok>(await a.Log.Append(mine.Commit("two") with { Knows = 1 }, None));
        await b.Log.Append(other.Commit("three"), None);
        Assert.Equal(new AppendResult.Moved("run-1"), await a.Log.Append(mine.Commit("four") with { Knows = 2 }, None));
        await mine.Reload(a.Log);
        Assert.Equal(new AppendResult.Moved("run-1"), await a.Log.Append(mine.Commit("four") with { Knows = 2 }, None));
        await mine.Reload(a.Log);
        Assert.IsType<AppendResult.Ok>(await a.Log.Append(mine.Commit("four") with { Knows = 3 }, None));
        await AssertLedger(a);
    }

    [Fact]
    public async Task Two_nodes_do_each_job_once()
    {
        var (a, b) = (await Open("a"), await Open("b"));
        await using Worker left = new(a), right = new(b);
        var done = new ConcurrentBag<string>();
        var work = new[] { (a, left), (b, right) }.Select(async pair =>
        {
            while (done.Count < 200 && await pair.Item2.TryNext(Blink) is var (claim, found))
            {
                if (found)
                {
                    done.Add(claim.Key);
                    await pair.Item1.Jobs.Complete(claim, None);
                }
            }
        }).ToList();
        await Task.WhenAll(Enumerable.Range(0, 200).Select(i =>
            Submit(i % 2 == 0 ? a : b, $"run-{i}", new Job("run", $"{i}", i % 3 == 0 ? TimeProvider.System.GetUtcNow() : null))));
        await Task.WhenAll(work);
        Assert.Equal(200, done.Distinct().Count());
        Assert.Equal(200, done.Count);
    }

    [Fact]
    public async Task A_paused_node_is_fenced_and_its_job_goes_on_elsewhere()
    {
        var (a, b) = (await Open("a"), await Open("b"));
        await using var left = new Worker(a);
        await Submit(a, "run-1", new Job("run", "1"));
        var stale = await left.Next();
        a.Pause(true);
        await using var right = new Worker(b);
        var taken = await right.Next();
        Assert.Equal("1", taken.Key);
        Assert.True(taken.Epoch > stale.Epoch);

        var chain = new Chain(Org, "run-2");
        Assert.IsType<AppendResult.Fenced>(await a.Log.Append(new(Org, [chain.Next("from the paused one")], [], stale, Chain.By), None));
        a.Pause(false);
        await a.Jobs.Complete(stale, None);
        await Patience.Until(() => left.LostTokens.Exists(t => t.IsCancellationRequested), "the paused node hears that it lost its lease");
        Assert.IsType<AppendResult.Ok>(await b.Log.Append(new(Org, [new Chain(Org, "run-2").Next("from the other")], [], taken, Chain.By), None));

        await Submit(a, "run-3", new Job("run", "2"));
        var next = await Task.WhenAny(left.Next(), right.Next());
        Assert.Equal("2", (await next).Key);
        await AssertLedger(b);
    }

    [Fact]
    public async Task A_node_known_to_be_dead_keeps_nothing()
    {
        var a = await Open("a");
        var left = new Worker(a);
        await Submit(a, "run-1", new Job("run", "1"));
        await left.Next();
        a.Pause(true);
        var at = TimeProvider.System.GetTimestamp();
        var b = await Open("b", null, "a");
        await using var right = new Worker(b);
        Assert.Equal("1", (await right.Next()).Key);
        Assert.True(TimeProvider.System.GetElapsedTime(at) < Patience.Stretched(Lease), "It waited for the lease.");
        await left.DisposeAsync();
    }

    [Fact]
    public async Task A_node_that_stops_gives_its_jobs_back()
    {
        var (a, b) = (await Open("a"), await Open("b"));
        var left = new Worker(a);
        await Submit(a, "run-1", new Job("run", "1"));
        await left.Next();
        await left.DisposeAsync();
        await a.Stop();
        var at = TimeProvider.System.GetTimestamp();
        await using var right = new Worker(b);
        Assert.Equal("1", (await right.Next()).Key);
        Assert.True(TimeProvider.System.GetElapsedTime(at) < Patience.Stretched(Lease), "It waited for the lease.");
    }

    /// <summary>A node that has just begun to work may not know an epoch yet.</summary>
    static async Task<JobAdmission> Admitted(Node node)
    {
        JobAdmission? room = null;
        await Patience.Until(() => (room = node.Jobs.Admit(Org, "run")) is not null, "the node admits a job");
        return room!;
    }
}
