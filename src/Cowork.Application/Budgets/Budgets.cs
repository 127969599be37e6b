using Cowork.Application.Models;
using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.AI;

namespace Cowork.Application;

/// <summary>
/// Holds calls of models with a price to the tenant's daily budget: what a call may cost is reserved before it, and settled in the commit that records what became of
/// it. A tenant's commits to its budget go one after the other on each host, because each rests on the one before.
/// </summary>
public sealed class Budgets(CommandHandler commands, IReadOnlyDictionary<string, IChatClient> models)
{
    /// <summary>Code of the refusal of a call whose prompt lacks feedback. The driver makes it anew.</summary>
    internal const string PromptIsOld = "prompt_is_old";

    /// <summary>Days that are searched for a reservation of a lost driver: an approval may have kept the run for long.</summary>
    const int DaysSearchedMax = 7;

    readonly KeyedLock gate = new();

    /// <summary>Names of the models without a price, which no budget holds.</summary>
    public IReadOnlyList<string> NotHeld => [.. models.Where(model => TermsOf(model.Value).Price is null).Select(model => model.Key).Order(StringComparer.Ordinal)];

    /// <summary>What the tenant's day has come to, with the writes of other hosts.</summary>
    public async ValueTask<(Budget Day, BudgetLimits Limits)> Show(string org, DateTimeOffset now, CancellationToken ct) => (
        await commands.LatestState(org, Budget.Aggregate, BudgetKey.Of(now), ct),
        (await commands.LatestState(org, Budget.Aggregate, BudgetKey.Limits, ct)).Limits ?? BudgetLimits.Default);

    internal static ModelTerms TermsOf(IChatClient model) => model.GetService(typeof(ModelTerms)) as ModelTerms ?? ModelTerms.Unknown;

    /// <summary>What a call may cost; null: the model has no price, or it costs nothing.</summary>
    internal static Reservation? CostOf(
        RunKey run, int? step, int attempt, string name, IChatClient model, IReadOnlyList<ChatMessage> messages, ChatOptions options)
    {
        var terms = TermsOf(model);
        if (terms.Price is not { } price)
        {
            return null;
        }
        var (input, output) = (RequestSize.Of(model, messages, options), terms.MaxOutputTokens ?? ModelTerms.OutputTokensAssumed);
        return price.MostMicroUsd(input, output) is > 0 and var cost ? new(run, step, attempt, name, input, output, cost) : null;
    }

    /// <summary>Reserves the next call of a run's driver, which <see cref="DrivenRun.Held"/> then has. Refused: the budget does not pay for it, or the driver is fenced.</summary>
    /// <param name="feedback">How much of the run's feedback the prompt has. When there is more by the time of the reservation, the code is <see cref="PromptIsOld"/>.</param>
    internal async ValueTask<Refusal?> Reserve(DrivenRun run, Run.Active state, Reservation? call, int feedback, CancellationToken ct)
    {
        if (call is null)
        {
            return null;
        }
        var lost = await FindLost(run, state, ct);
        var (held, refused) = await Reserve(
            run.Org, run.By, state.Request.SessionId, call,
            async work => await work.PinnedState(Run.Aggregate, run.Key) is not Run.Active active || active.Epoch != run.Claim.Epoch
                ? Refusal.Conflict("run_fenced", "The run has ended, or another claim drives it.")
                : (active.Feedback?.Count ?? 0) != feedback ? new(PromptIsOld, 409, "Feedback has come that the prompt does not have.")
                : await SettleLost(work, run, state.Request.SessionId, lost),
            ct);
        run.Held = held;
        run.HasSettledLost |= refused is null;
        return refused;
    }

    /// <param name="before">Adds what goes before the reservation, or refuses it.</param>
    internal async ValueTask<(HeldCall? Held, Refusal? Refused)> Reserve(
        string org, Origin by, SessionKey session, Reservation call, Func<UnitOfWork, ValueTask<Refusal?>> before, CancellationToken ct)
    {
        HeldCall? held = null;
        var refused = await InTurn(
            org,
            () => commands.Commit(
                org, by,
                async work =>
                {
                    if (await before(work) is { } impossible)
                    {
                        return impossible;
                    }
                    held = new(BudgetKey.Of(work.Now), call.RunId, session);
                    return await work.Do(Budget.Aggregate, held.Day, new BudgetCommand.Reserve(call, await LimitsOf(work), work.Now), session, call.RunId);
                },
                ct, waitForStorage: true, name: nameof(Reserve)),
            ct);
        if (refused?.Code == "budget_exceeded")
        {
            Measures.BudgetRefusals.Add(1);
        }
        return refused is null ? (held, null) : (null, refused);
    }

    /// <summary>Commits what became of a driver's call, and of what lost drivers of the run had reserved.</summary>
    /// <param name="commit">Commits the outcome, with what its argument adds; null: there is nothing to settle.</param>
    internal async ValueTask<Refusal?> Settle(
        DrivenRun run, Func<Func<UnitOfWork, ValueTask<Refusal?>>?, ValueTask<Refusal?>> commit, CancellationToken ct)
    {
        var state = run.Held is null ? await commands.State(run.Org, Run.Aggregate, run.Key, ct) as Run.Active : null;
        IReadOnlyList<BudgetKey> lost = state is null ? [] : await FindLost(run, state, ct);
        if (run.Held is null && lost.Count == 0)
        {
            run.HasSettledLost |= state is not null;
            return await commit(null);
        }
        var refused = await InTurn(
            run.Org,
            () => commit(async work => run.Held is { } held
                ? await Settle(work, held)
                : await SettleLost(work, run, state!.Request.SessionId, lost)),
            ct);
        run.Held = null;
        run.HasSettledLost |= refused is null;
        return refused;
    }

    internal static ValueTask<Refusal?> Settle(UnitOfWork work, HeldCall held) =>
        work.Do(Budget.Aggregate, held.Day, new BudgetCommand.Settle(held.Run, held.SpentMicroUsd, work.Now), held.Session, held.Run);

    /// <summary>One commit of a tenant to its budget at a time, until it is settled who was first.</summary>
    internal async ValueTask<Refusal?> InTurn(string org, Func<ValueTask<Refusal?>> commit, CancellationToken ct)
    {
        using var turn = await gate.Enter(org, ct);
        while (true)
        {
            var refused = await commit();
            if (refused?.Code != "stream_busy")
            {
                return refused;
            }
        }
    }

    /// <summary>The limits as the log has them when the commit happens: it is pinned to them. What nobody has set is put there, so that there is something to pin.</summary>
    static async ValueTask<BudgetLimits> LimitsOf(UnitOfWork work)
    {
        if ((await work.PinnedState(Budget.Aggregate, BudgetKey.Limits)).Limits is { } limits)
        {
            return limits;
        }
        work.ContinueAs("system");
        await work.Do(Budget.Aggregate, BudgetKey.Limits, new BudgetCommand.SetLimits(BudgetLimits.Default, work.Now));
        work.ContinueAs(work.By.Actor);
        return BudgetLimits.Default;
    }

    /// <summary>
    /// The days before this one in which a lost driver of the run has reserved and not settled, and this one. The model may have had a price then, whatever it has now.
    /// </summary>
    async ValueTask<IReadOnlyList<BudgetKey>> FindLost(DrivenRun run, Run.Active state, CancellationToken ct)
    {
        if (state.Attempt == 1 || run.HasSettledLost)
        {
            return [];
        }
        var found = new List<BudgetKey>();
        var today = commands.Today;
        for (var day = today; day >= state.StartedAt.UtcDateTime.Date && day > today.AddDays(-DaysSearchedMax); day = day.AddDays(-1))
        {
            var key = BudgetKey.Of(new(day, TimeSpan.Zero));
            if ((await commands.LatestState(run.Org, Budget.Aggregate, key, ct)).Open.ContainsKey(run.Key.Value))
            {
                found.Add(key);
            }
        }
        return found;
    }

    static async ValueTask<Refusal?> SettleLost(UnitOfWork work, DrivenRun run, SessionKey session, IReadOnlyList<BudgetKey> days)
    {
        foreach (var day in days)
        {
            await work.Do(Budget.Aggregate, day, new BudgetCommand.Settle(run.Key, null, work.Now), session, run.Key);
        }
        return null;
    }
}
