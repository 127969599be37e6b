using Cowork.Application.Storage;
using Cowork.Marten;
using Cowork.Testing;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Jobs that fail as often as they are tried.</summary>
public sealed partial class MartenStorageSpec
{
    [Fact]
    public async Task A_job_that_fails_again_and_again_is_a_dead_letter_until_it_is_replayed()
    {
        var engine = await StartWithOneRetry("a");
        var node = NodeOf(engine);
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        await GiveUp(node, worker, letters: 1);
        var letters = engine.DeadLetters;
        var dead = Assert.Single(await letters.List(Org, 1_000, None));
        Assert.Equal(
            (Org, "run", "1", "System.InvalidOperationException", "attempt 2", 2), (dead.OrgId, dead.Kind, dead.Key, dead.Exception, dead.Message, dead.Attempts));
        Assert.Equal(dead, await letters.Find(Org, dead.Id, None));
        Assert.Empty(await letters.List("other", 1_000, None));
        Assert.Null(await letters.Find("other", dead.Id, None));
        Assert.Equal(0, await letters.Replay("other", [dead.Id], None));
        await node.Jobs.Hurry("run", None);
        await worker.AssertNothing();

        Assert.Equal(1, await letters.Replay(Org, [dead.Id], None));
        await node.Jobs.Complete(await worker.Next(), None);
        Assert.Empty(await letters.List(Org, 1_000, None));
        Assert.Equal("0", await Ask("SELECT count(*) FROM cowork.jobs"));
        await worker.AssertNothing();
    }

    [Fact]
    public async Task A_replayed_job_is_tried_as_often_as_a_new_one()
    {
        var engine = await StartWithOneRetry("a");
        var node = NodeOf(engine);
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        await GiveUp(node, worker, letters: 1);
        Assert.Equal(1, await engine.DeadLetters.Replay(null, [(await engine.DeadLetters.List(null, 10, None))[0].Id], None));
        await GiveUp(node, worker, letters: 1);
        Assert.Equal(2, Assert.Single(await engine.DeadLetters.List(Org, 10, None)).Attempts);
    }

    [Fact]
    public async Task A_dead_letter_that_is_discarded_takes_its_job_along()
    {
        var engine = await StartWithOneRetry("a");
        var node = NodeOf(engine);
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        await GiveUp(node, worker, letters: 1);
        var dead = Assert.Single(await engine.DeadLetters.List(null, 10, None));
        Assert.False(await engine.DeadLetters.Discard("other", dead.Id, None));
        Assert.True(await engine.DeadLetters.Discard(Org, dead.Id, None));
        Assert.False(await engine.DeadLetters.Discard(Org, dead.Id, None));
        Assert.Equal("0", await Ask("SELECT count(*) FROM cowork.jobs"));
    }

    [Fact]
    public async Task A_tenants_many_dead_letters_hide_no_other_tenants()
    {
        var engine = await StartWithOneRetry("a");
        var node = NodeOf(engine);
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        Assert.IsType<AppendResult.Ok>(await node.Log.Append(new("other", [new Chain("other", "run-2").Next("started")], [new("run", "2")], null, Chain.By), None));
        await GiveUp(node, worker, letters: 2);
        await Ask("""
            INSERT INTO cowork.jobs (tenant_id, kind, key, due, epoch, attempts, error_type, error, failed_at, letter)
            SELECT tenant_id, kind, key || n, due, epoch, attempts, error_type, error, failed_at + hours * interval '1 hour', gen_random_uuid()
            FROM cowork.jobs, unnest(array[-1, 1]) hours, generate_series(1, 1000) n WHERE tenant_id = 'default' AND n % 2 = (hours + 1) / 2;
            SELECT ''
            """);
        Assert.Equal("2", Assert.Single(await engine.DeadLetters.List("other", 1_000, None)).Key);
        Assert.Equal(1_000, (await engine.DeadLetters.List(Org, 1_000, None)).Count);
        Assert.Equal("1", Assert.Single(await engine.DeadLetters.List(Org, 1_000, None, "run", "1")).Key);
        Assert.Equal((1L, 0L, 0L), (await engine.DeadLetters.Count(Org, None, "run", "1"), await engine.DeadLetters.Count("other", None, "run", "1"), await engine.DeadLetters.Count(null, None, "notes")));
        Assert.Equal((1L, 1_001L, 1_002L), (await engine.DeadLetters.Count("other", None), await engine.DeadLetters.Count(Org, None), await engine.DeadLetters.Count(null, None)));
    }

    [Fact]
    public async Task A_job_that_was_given_up_comes_back_when_it_is_asked_for_again()
    {
        var engine = await StartWithOneRetry("a");
        var node = NodeOf(engine);
        await using var worker = new Worker(node);
        await Submit(node, "run-1", new Job("run", "1"));
        await GiveUp(node, worker, letters: 1);
        await Submit(node, "run-2", new Job("run", "1"));
        var claim = await worker.Next();
        Assert.Empty(await engine.DeadLetters.List(null, 10, None));
        await node.Jobs.Complete(claim, None);
    }

    Task<StorageEngine> StartWithOneRetry(string name) => Start(ConnectionString, name, change: o => o with { JobRetries = [TimeSpan.FromMilliseconds(100)] });

    /// <summary>Fails the jobs that come, each as often as <see cref="StartWithOneRetry"/> lets it, until there are so many dead letters.</summary>
    async Task GiveUp(Node node, Worker worker, int letters)
    {
        var failed = new Dictionary<string, int>();
        for (var i = 0; i < 2 * letters; i++)
        {
            var claim = await worker.Next();
            var attempt = failed[claim.Key] = failed.GetValueOrDefault(claim.Key) + 1;
            await node.Jobs.Fail(claim, new InvalidOperationException($"attempt {attempt}"), None);
        }
        Assert.Equal($"{letters}", await Ask("SELECT count(*) FROM cowork.jobs WHERE letter IS NOT NULL"));
    }
}
