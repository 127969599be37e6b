using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

using static Cowork.Domain.RunEvent;

namespace Cowork.Application.Tests;

/// <summary>The metrics' fold, over runs whose times are known.</summary>
public sealed class MetricsSpecs
{
    static readonly DateTimeOffset Start = new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);

    readonly List<RecordedEvent> log = [];

    [Fact]
    public async Task Runs_are_counted_by_the_state_that_they_are_in()
    {
        Tell("r1", 0, Created("r1"));
        Tell("r2", 1, Created("r2"));
        Tell("r3", 2, Created("r3"));
        Tell("r1", 3, new RunStarted(1, "n", default));
        Assert.Equal(new StatusCounts(2, 1, 0, 0, 0, 0), (await Of()).Statuses);
        Tell("r2", 4, new RunStarted(2, "n", default));
        Tell("r2", 5, Asked("a1"));
        Tell("r3", 6, new RunCancelled(default));
        Assert.Equal(new StatusCounts(0, 1, 1, 0, 0, 1), (await Of()).Statuses);
        Tell("r2", 7, new ApprovalDecided(new("a1"), ApprovalOutcome.Approved, "user:ann", null, default));
        Tell("r1", 8, new RunFailed(new("model_failed", "no"), default));
        Assert.Equal(new StatusCounts(0, 1, 0, 0, 1, 1), (await Of()).Statuses);
        Tell("r2", 9, new RunCompleted(0, 0, 0, default));
        var all = await Of();
        Assert.Equal((3L, new StatusCounts(0, 0, 0, 1, 1, 1), Start), (all.Runs, all.Statuses, all.Since));
        // Nothing is kept of a run that has ended: what stays is the tenant's row, and one of each stretch of time.
        Assert.Equal(["1 2026-01-01T09:00", "1440 2026-01-01T00:00", "60 2026-01-01T09:00", "tenant"], (await Rows()).Keys.Select(k => k.Key).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Queue_execution_and_approval_are_timed_apart()
    {
        Tell("r1", 0, Created("r1"));
        Tell("r1", 10, new RunStarted(1, "n", default));
        Tell("r1", 12, Asked("a1"));
        Tell("r1", 112, new ApprovalDecided(new("a1"), ApprovalOutcome.Rejected, "user:ann", null, default));
        Tell("r1", 113, Asked("a2"));
        Tell("r1", 133, new ApprovalDecided(new("a2"), ApprovalOutcome.Approved, "user:ann", null, default));
        Tell("r1", 137, new RunCompleted(0, 0, 0, default));
        // One that never started was never executed, nor did its queueing end.
        Tell("r2", 140, Created("r2"));
        Tell("r2", 200, new RunCancelled(default));
        var of = await Of();
        Assert.Equal((1L, 10_000L), (of.Queue.Count, of.Queue.SumMs));
        Assert.Equal((1L, 137_000L - 10_000 - 100_000 - 20_000), (of.Execution.Count, of.Execution.SumMs));
        Assert.Equal((2L, 120_000L), (of.Approval.Count, of.Approval.SumMs));
    }

    [Fact]
    public async Task A_run_that_is_taken_over_is_one_run_and_its_time_goes_on()
    {
        Tell("r1", 0, Created("r1"));
        Tell("r1", 1, new RunStarted(1, "n", default));
        Tell("r1", 20, new RunResumed(2, 2, "m", default));
        Tell("r1", 31, new RunCompleted(0, 0, 0, default));
        var of = await Of();
        Assert.Equal((1L, new StatusCounts(0, 0, 0, 1, 0, 0), 30_000L), (of.Runs, of.Statuses, of.Execution.SumMs));
    }

    [Fact]
    public async Task Tokens_and_cost_are_those_of_every_answer_also_of_runs_that_failed()
    {
        Tell("r1", 0, Created("r1"));
        Tell("r1", 1, new RunStarted(1, "n", default));
        Tell("r1", 2, Answered(100, 20, 1_500));
        Tell("r1", 3, Answered(200, 30, null));
        Tell("r1", 4, new RunFailed(new("limit_rounds", "no"), default));
        Tell("r2", 5, Created("r2"), "other");
        Tell("r2", 6, new RunStarted(1, "n", default), "other");
        Tell("r2", 7, Answered(7, 7, 7), "other");
        var of = await Of();
        Assert.Equal((300L, 50L, 1_500L), (of.InputTokens, of.OutputTokens, of.CostMicroUsd));
        Assert.Equal((7L, new StatusCounts(0, 1, 0, 0, 0, 0)), ((await Of("other")).InputTokens, (await Of("other")).Statuses));
    }

    [Fact]
    public async Task A_batch_may_be_cut_anywhere()
    {
        for (var i = 0; i < 6; i++)
        {
            var run = $"r{i}";
            Tell(run, i, Created(run));
            Tell(run, i + 1, new RunStarted(1, "n", default));
            Tell(run, i + 2, Answered(i, 1, i));
            Tell(run, i + 3, Asked($"a{i}"));
            Tell(run, i + 7, new ApprovalDecided(new($"a{i}"), ApprovalOutcome.Approved, "user:ann", null, default));
            Tell(run, i + 9, i % 3 == 0 ? new RunCompleted(0, 0, 0, default) : i % 3 == 1 ? new RunFailed(new("x", "y"), default) : new RunCancelled(default));
        }
        var whole = Told(await Rows());
        for (var cut = 1; cut < log.Count; cut++)
        {
            Assert.Equal(whole, Told(await Rows(log[..cut], log[cut..])));
        }
        Assert.Equal(whole, Told(await Rows([.. log.Select(e => new List<RecordedEvent> { e })])));

        static string Told(Dictionary<RowKey, ProjectedRow> rows) => string.Join('\n', rows.OrderBy(r => r.Key.Key, StringComparer.Ordinal)
            .Select(r => $"{r.Key} {r.Value.Created} {r.Value.Updated} {System.Text.Encoding.UTF8.GetString(r.Value.Value!.Json.Span)}"));
    }

    [Fact]
    public async Task Events_that_cannot_be_in_a_log_are_a_bug()
    {
        Tell("r1", 0, new RunCompleted(0, 0, 0, default));
        Assert.Equal(1, (await Assert.ThrowsAsync<FoldException>(() => Of())).Position);
    }

    [Fact]
    public async Task What_hosts_did_is_counted_once_whatever_they_died_of()
    {
        var bench = new RunHarness();
        var first = bench.AddHost("n1");
        await first.OpenSession("s");
        for (var i = 0; i < 5; i++)
        {
            await first.Send("s", "go");
        }
        Assert.Equal(new StatusCounts(5, 0, 0, 0, 0, 0), (await Of(bench)).Statuses);
        using var stop = new CancellationTokenSource();
        var died = new TaskCompletionSource();
        var commits = 0;
        bench.Engine.FailPoint = (_, after) =>
        {
            if (after && ++commits == 7)
            {
                first.Node.Die();
                died.TrySetResult();
            }
        };
        var dying = first.Work(stop.Token);
        await died.Task.WaitAsync(Patience.Limit);
        bench.Engine.FailPoint = null;
        var second = bench.AddHost("n2");
        var working = second.Work(stop.Token);
        await Patience.Until(
            () =>
            {
                bench.Clock.Advance(TimeSpan.FromMilliseconds(500));
                return bench.Engine.Jobs.Count == 0;
            },
            () => string.Join(", ", bench.Engine.Jobs), "the runs have ended", pause: 5);
        var of = await Of(bench);
        Assert.Equal((5L, new StatusCounts(0, 0, 0, 5, 0, 0), 5L, 5L), (of.Runs, of.Statuses, of.Queue.Count, of.Execution.Count));
        Assert.Null(await ((IRows)bench.Engine).FindDifference(Metrics.Model, default));
        await stop.CancelAsync();
        await Task.WhenAll(dying, working);
    }

    static RunCreated Created(string run) => new(new(run), new("s"), Content.Of("go"), "offline", null, default);

    static ApprovalRequested Asked(string approval) =>
        new(new(approval), new("s"), "c", "delete_file", Content.Of("{}"), "00", "why", "rule", Start.AddDays(1), default);

    static LlmResponse Answered(long input, long output, long? cost) => new(1, 1, "m", "stop", "00", input, output, 0, cost, default);

    void Tell(string run, int second, RunEvent e, string org = RunHarness.Org)
    {
        var at = Start.AddSeconds(second);
        log.Add(new(org, $"run-{run}", 1, Guid.Empty, EventTypes.NameOf(e), e with { At = at }, default, at, "user:ann", "", log.Count + 1));
    }

    async Task<MetricsRow.OfTenant> Of(string org = RunHarness.Org) =>
        (MetricsRow.OfTenant)Metrics.Model.Read((await Rows())[new(org, Metrics.TenantKey)].Value!.Json.Span);

    static async Task<MetricsRow.OfTenant> Of(RunHarness bench)
    {
        var projector = new Projector(bench.Engine, ReadModels.AsyncProjections, bench.Clock, Microsoft.Extensions.Logging.Abstractions.NullLogger<Projector>.Instance);
        await projector.CatchUp(default);
        Assert.Empty(projector.Parked);
        return (MetricsRow.OfTenant)Metrics.Model.Read((await ((IRows)bench.Engine).Get(RunHarness.Org, Metrics.Model.Table, Metrics.TenantKey, default))!.Json.Span);
    }

    /// <summary>The rows after batches of events, the whole log when none are given.</summary>
    async Task<Dictionary<RowKey, ProjectedRow>> Rows(params List<List<RecordedEvent>> batches)
    {
        var rows = new Dictionary<RowKey, ProjectedRow>();
        foreach (var batch in batches.Count == 0 ? [log] : batches)
        {
            var wanted = batch.Where(e => Metrics.Model.Types.Contains(e.Type)).ToList();
            var changed = await ProjectedRow.Fold(Metrics.Model, wanted, keys => new(
                keys.Where(rows.ContainsKey).ToDictionary(k => k, k => new Row(k.Key, rows[k].Created, rows[k].Updated, rows[k].Value!.Json))));
            foreach (var row in changed)
            {
                rows.Remove(row.Key);
                if (row.Value is not null)
                {
                    rows.Add(row.Key, row);
                }
            }
        }
        return rows;
    }
}
