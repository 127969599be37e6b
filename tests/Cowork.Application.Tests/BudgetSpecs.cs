using Cowork.Application.Models;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

using static Cowork.Domain.BudgetEvent;

namespace Cowork.Application.Tests;

/// <summary>Calls of models with a price are held by the tenant's daily budget.</summary>
public sealed class BudgetSpecs
{
    const long Call = PricedModel.TokenPrice * PricedModel.TokensMax;

    readonly PricedModel model = new();
    readonly RunHarness bench;

    public BudgetSpecs() => bench = Bench(model);

    [Fact]
    public async Task A_call_is_reserved_before_it_and_settled_with_its_answer()
    {
        model.Tokens = 40;
        var host = await Host();
        var run = await host.Send("s", "go");
        await host.Drive();
        Assert.Equal(
            [
                "session_created", "run_created", "run_queued", "run_started", "memory_retrieval", "budget_reserved", "output_delta", "llm_response", "assistant_reply",
                "run_completed", "budget_settled", "run_dequeued", "memory_written",
            ],
            await Feed());
        var settled = Assert.Single((await Events()).OfType<BudgetSettled>());
        Assert.Equal(new(run, 2, 1, Call, 400_000, settled.At), settled);
        var (day, limits) = await host.Budgets.Show(RunHarness.Org, bench.Clock.GetUtcNow(), default);
        Assert.Equal((400_000, 0, 9_600_000), (day.SpentMicroUsd, day.ReservedMicroUsd, day.RemainingMicroUsd(limits)));
    }

    [Fact]
    public async Task At_the_limit_the_run_fails_and_nothing_is_called()
    {
        var host = await Host(limit: Call - 1);
        var run = await host.Send("s", "go");
        await host.Drive();
        Assert.Equal(0, model.Asked);
        var failed = (await RunEvents(run)).OfType<RunEvent.RunFailed>().Single();
        Assert.Equal("budget_exceeded", failed.Error.Code);
        Assert.Empty(await Events());
    }

    [Fact]
    public async Task A_budget_that_is_raised_pays_for_the_next_call_on_every_host_at_once()
    {
        var host = await Host(limit: 0);
        var other = bench.AddHost("n2");
        await host.Send("s", "go");
        await host.Drive();
        await other.Commands.Execute(RunHarness.Org, RunHarness.User, new SetBudget(BudgetLimits.Of(Call)), default);
        await host.Send("s", "go");
        await host.Drive();
        Assert.Equal(1, model.Asked);
        await other.Commands.Execute(RunHarness.Org, RunHarness.User, new SetBudget(BudgetLimits.Of(Call + 1)), default);
        await host.Send("s", "go");
        await host.Drive();
        Assert.Equal(1, model.Asked);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Tasks_at_once_spend_no_more_than_the_budget(int hosts)
    {
        var all = new List<RunHarness.Host> { await Host() };
        while (all.Count < hosts)
        {
            all.Add(bench.AddHost($"n{all.Count}"));
        }
        // No call is answered before every run has reserved or failed: what they hold together is at its highest.
        var reserved = new TaskCompletionSource();
        model.Before = (_, ct) => reserved.Task.WaitAsync(ct);
        var runs = new List<RunKey>();
        for (var i = 0; i < 64; i++)
        {
            await all[0].OpenSession($"s{i}");
            runs.Add(await all[i % hosts].Send($"s{i}", "go"));
        }
        using var stop = new CancellationTokenSource(Patience.Limit);
        var working = all.Select(host => host.Work(stop.Token)).ToList();
        await Patience.Until(() => bench.Engine.Jobs.Count == model.Asked && model.Asked == 10);
        reserved.SetResult();
        await Patience.Until(() => bench.Engine.Jobs.Count == 0);
        await stop.CancelAsync();
        await Task.WhenAll(working.Select(work => work.ContinueWith(_ => { }, TaskScheduler.Default)));
        var rows = new List<RunRow>();
        foreach (var run in runs)
        {
            rows.Add(Runs.Model.Read((await bench.Engine.Get(RunHarness.Org, Runs.Model.Table, run.Value, default))!.Json.Span));
        }
        Assert.Equal(10, rows.Count(row => row.Status == "completed"));
        Assert.Equal(54, rows.Count(row => row is { Status: "failed", Error.Code: "budget_exceeded" }));
        var (day, limits) = await all[0].Budgets.Show(RunHarness.Org, bench.Clock.GetUtcNow(), default);
        Assert.Equal((10 * Call, 0, 0), (day.SpentMicroUsd, day.ReservedMicroUsd, day.RemainingMicroUsd(limits)));
        Assert.Single((await Events()).OfType<BudgetSoftLimitReached>());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_host_that_dies_at_any_commit_leaves_no_call_unpaid(bool after)
    {
        for (var at = 0; ; at++)
        {
            var priced = new PricedModel { Tokens = 40 };
            var died = Bench(priced);
            var first = died.AddHost("n0");
            await first.OpenSession("s");
            await first.Send("s", "go");
            died.DieAt([(at, after)]);
            var (host, crashes) = await died.Outlive(first, async h =>
            {
                await h.Drive();
                return died.Engine.Jobs.Count > 0;
            });
            died.Engine.FailPoint = null;
            var (day, _) = await host.Budgets.Show(RunHarness.Org, died.Clock.GetUtcNow(), default);
            Assert.Empty(day.Open);
            // What a lost host had asked for counts in full: nobody knows what came of it.
            Assert.True(day.SpentMicroUsd >= priced.Asked * 400_000, $"{priced.Asked} calls for {day.SpentMicroUsd}");
            Assert.InRange(day.SpentMicroUsd, 400_000, 400_000 + (crashes * Call));
            if (crashes == 0)
            {
                return;
            }
        }
    }

    [Fact]
    public async Task What_a_lost_host_had_reserved_is_settled_also_when_the_model_has_no_price_by_then()
    {
        for (var at = 0; ; at++)
        {
            var priced = new PricedModel();
            var died = Bench(priced);
            var first = died.AddHost("n0");
            await first.OpenSession("s");
            await first.Send("s", "go");
            died.DieAt([(at, false)]);
            var (host, crashes) = await died.Outlive(first, async h =>
            {
                priced.IsPriced = h == first;
                await h.Drive();
                return died.Engine.Jobs.Count > 0;
            });
            died.Engine.FailPoint = null;
            var (day, _) = await host.Budgets.Show(RunHarness.Org, died.Clock.GetUtcNow(), default);
            Assert.Empty(day.Open);
            Assert.Equal(0, day.ReservedMicroUsd);
            if (crashes == 0)
            {
                return;
            }
        }
    }

    [Theory]
    [InlineData(true, false, 0)]                 // refused by the provider: it did nothing
    [InlineData(false, true, 700_000)] // it broke off, and said what it used
    [InlineData(false, false, (int)Call)]        // it broke off, and nobody knows
    public async Task An_attempt_that_fails_is_settled_with_what_is_known_of_it(bool unbilled, bool saysUsage, int spent)
    {
        model.Retries = new(2, TimeSpan.FromMilliseconds(1), TimeSpan.FromMilliseconds(1));
        model.Tokens = 40;
        model.Before = (call, _) => call > 1 ? Task.CompletedTask : throw new ModelException(ModelException.Failed, "Broken.")
        {
            IsUnbilled = unbilled,
            Usage = saysUsage ? new() { InputTokenCount = 3, OutputTokenCount = 70 } : null,
        };
        var host = await Host();
        var run = await host.Send("s", "go");
        using var stop = new CancellationTokenSource(Patience.Limit);
        var working = host.Work(stop.Token);
        await Patience.Until(
            () =>
            {
                bench.Clock.Advance(TimeSpan.FromMilliseconds(1));
                return bench.Engine.Jobs.Count == 0;
            },
            "the run has ended", pause: 1);
        await stop.CancelAsync();
        await working.ContinueWith(_ => { }, TaskScheduler.Default);
        Assert.Equal(
            [new(run, 2, 1, Call, spent, default, unbilled || saysUsage ? null : true), new BudgetSettled(run, 2, 2, Call, 400_000, default)],
            (await Events()).OfType<BudgetSettled>().Select(e => e with { At = default }));
        Assert.Equal(2, model.Asked);
    }

    [Fact]
    public async Task A_cancelled_call_counts_as_spent_because_the_provider_may_be_paid()
    {
        var called = new TaskCompletionSource();
        model.Before = async (_, ct) =>
        {
            called.SetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, ct);
        };
        var host = await Host();
        var run = await host.Send("s", "go");
        using var stop = new CancellationTokenSource(Patience.Limit);
        var working = host.Work(stop.Token);
        await called.Task;
        await host.Commands.Execute(RunHarness.Org, RunHarness.User, new CancelRun(run, null), default);
        await Patience.Until(() => bench.Engine.Jobs.Count == 0);
        await stop.CancelAsync();
        await working.ContinueWith(_ => { }, TaskScheduler.Default);
        Assert.Single((await RunEvents(run)).OfType<RunEvent.RunCancelled>());
        Assert.Equal((Call, true), (await Events()).OfType<BudgetSettled>().Select(e => (e.SpentMicroUsd, e.Assumed)).Single());
    }

    [Fact]
    public async Task A_call_that_spans_midnight_is_settled_in_the_day_that_reserved_it()
    {
        var host = await Host();
        bench.Clock.Set(TimeSpan.FromHours(14) + TimeSpan.FromMinutes(59));
        model.Before = (call, _) =>
        {
            if (call == 1)
            {
                bench.Clock.Set(TimeSpan.FromMinutes(2));
            }
            return Task.CompletedTask;
        };
        await host.Send("s", "go");
        await host.Drive();
        Assert.Equal(["budget_reserved", "budget_settled"], await bench.Story("budget-20260101"));
        Assert.Empty(await bench.Story("budget-20260102"));
        var (day, limits) = await host.Budgets.Show(RunHarness.Org, bench.Clock.GetUtcNow(), default);
        Assert.Equal(limits.DailyMicroUsd, day.RemainingMicroUsd(limits));
        await host.Send("s", "go");
        await host.Drive();
        Assert.Equal(["budget_reserved", "budget_settled"], await bench.Story("budget-20260102"));
    }

    [Fact]
    public async Task Notes_of_a_model_are_held_as_its_runs_are()
    {
        var withNotes = Bench(model, notes: true);
        var host = withNotes.AddHost("n0");
        await host.OpenSession("s");
        await host.Commands.Execute(RunHarness.Org, RunHarness.User, new SetBudget(BudgetLimits.Of(2 * Call)), default);
        model.Tokens = PricedModel.TokensMax;
        var run = await host.Send("s", "go");
        await host.Drive();
        Assert.Equal(2, model.Asked);
        var settled = (await Events(withNotes)).OfType<BudgetSettled>().ToList();
        Assert.Equal([2, null], settled.Select(e => e.Step));
        await host.Send("s", "go");
        await host.Drive();
        Assert.Equal(2, model.Asked);
        Assert.Equal(2 * Call, (await Events(withNotes)).OfType<BudgetSettled>().Sum(e => e.SpentMicroUsd));

        // The budget pays for one more call, which the run makes: its notes are made by rule, and say why.
        await host.Commands.Execute(RunHarness.Org, RunHarness.User, new SetBudget(BudgetLimits.Of(3 * Call)), default);
        await host.Send("s", "go");
        await host.Drive();
        Assert.Equal(3, model.Asked);
        var summary = (await withNotes.Engine.Load(RunHarness.Org, $"memory-{Ids.KeyOf("session_summary s")}", 0, int.MaxValue, default)).Events[^1].Event;
        Assert.Equal("budget_exceeded", ((MemoryEvent.MemoryWritten)summary).Notes!.Failure!.Code);
        Assert.Null(TraceVerifier.Verify(await TraceBundle.Build(withNotes.Engine, withNotes.Blobs, RunHarness.Org, new("s"), run, default)).Fault);
    }

    [Fact]
    public async Task A_long_day_is_read_from_its_snapshot()
    {
        var host = await Host();
        for (var i = 0; i < 150; i++)
        {
            await Do(new BudgetCommand.Reserve(new(new($"r{i}"), 2, 1, "priced", 10, 100, 1_000), BudgetLimits.Default, bench.Clock.GetUtcNow()));
            if (i > 0)
            {
                await Do(new BudgetCommand.Settle(new($"r{i}"), 400, bench.Clock.GetUtcNow()));
            }
        }
        for (var i = 1; i <= 3; i++)
        {
            var (day, _) = await bench.AddHost($"n{i}").Budgets.Show(RunHarness.Org, bench.Clock.GetUtcNow(), default);
            Assert.Equal((149 * 400, 1_000), (day.SpentMicroUsd, day.ReservedMicroUsd));
            Assert.Equal(new(new("r0"), 2, 1, "priced", 10, 100, 1_000), Assert.Single(day.Open).Value);
        }

        async Task Do(BudgetCommand command) => Assert.Null(await host.Commands.Commit(
            RunHarness.Org, RunHarness.User, work => work.Do(Budget.Aggregate, BudgetKey.Of(bench.Clock.GetUtcNow()), command), default));
    }

    [Fact]
    public async Task A_model_without_a_price_costs_its_runs_no_commit()
    {
        var host = await Host();
        var commits = 0;
        bench.Engine.FailPoint = (_, after) => commits += after ? 1 : 0;
        await host.Turns.Submit(RunHarness.Org, RunHarness.User, new(new("s"), "go", "scripted", null, null), default);
        await host.Drive();
        Assert.Equal(3, commits);
        Assert.Empty(await Events());
        Assert.Equal(["scripted"], host.Budgets.NotHeld);
    }

    static RunHarness Bench(PricedModel model, bool notes = false) => new()
    {
        Options = new() { DefaultModel = "priced", DeltaEvery = TimeSpan.FromDays(1) },
        Memory = new() { NotesByModel = notes },
        Models = { ["priced"] = model },
    };

    async Task<RunHarness.Host> Host(long? limit = null)
    {
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        if (limit is { } daily)
        {
            await host.Commands.Execute(RunHarness.Org, RunHarness.User, new SetBudget(BudgetLimits.Of(daily)), default);
        }
        return host;
    }

    async Task<List<string>> Feed() =>
        [.. (await bench.Engine.Feed(RunHarness.Org, new("s"), 0, 1_000, default)).Entries.Select(e => EventTypes.FeedType(e.Type))];

    Task<List<Event>> Events() => Events(bench);

    static async Task<List<Event>> Events(RunHarness of) =>
        [.. (await of.Engine.Load(RunHarness.Org, "budget-20260101", 0, int.MaxValue, default)).Events.Select(e => e.Event)];

    async Task<List<Event>> RunEvents(RunKey run) =>
        [.. (await bench.Engine.Load(RunHarness.Org, Run.Aggregate.Stream(run), 0, int.MaxValue, default)).Events.Select(e => e.Event)];
}
