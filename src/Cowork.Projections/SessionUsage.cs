using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>What a session's runs have used of one model.</summary>
/// <param name="Model">The configured name.</param>
/// <param name="CostMicroUsd">Of the calls with a known price.</param>
/// <param name="IsPriced">The price of every call is known.</param>
public sealed record UsageOfModel(string Model, long InputTokens, long OutputTokens, long CostMicroUsd, bool IsPriced);

/// <summary>
/// Adds up the rows of a session's runs. Those of the oldest runs, all of which have ended, are added once and kept: what a question costs follows the runs since the
/// last one.
/// </summary>
public sealed class SessionUsage(IRows rows)
{
    /// <summary>Sessions whose sums are kept, about.</summary>
    const long SessionsKept = 10_000;

    const int Page = 500;

    readonly LastUsed<(string Org, SessionKey Session), Sum> cache = new(SessionsKept, static _ => 1);

    /// <summary>Ordered by model.</summary>
    public async ValueTask<IReadOnlyList<UsageOfModel>> Of(string org, SessionKey session, CancellationToken ct)
    {
        var known = cache.Get((org, session)) ?? Sum.None;
        var found = new List<(long Created, RunRow Run)>();
        long? before = null;
        while (true)
        {
            var page = await rows.List(org, Runs.Model.Table, new(session.Value, Limit: Page, Before: before), ct);
            found.AddRange(page.Where(row => row.Created > known.Through).Select(row => (row.Created, Runs.Model.Read(row.Json.Span))));
            if (page.Count < Page || page[^1].Created <= known.Through)
            {
                break;
            }
            before = page[^1].Created;
        }
        found.Reverse();
        var ended = found.TakeWhile(run => run.Run.HasEnded).ToList();
        if (ended.Count > 0)
        {
            known = new(ended[^1].Created, Add(known.Models, ended.Select(run => run.Run)));
            cache.Put((org, session), known);
        }
        return [.. Add(known.Models, found.Skip(ended.Count).Select(run => run.Run)).Values];
    }

    static SortedDictionary<string, UsageOfModel> Add(SortedDictionary<string, UsageOfModel> sums, IEnumerable<RunRow> runs)
    {
        var after = new SortedDictionary<string, UsageOfModel>(sums, StringComparer.Ordinal);
        foreach (var run in runs.Where(run => run.TotalTokens > 0))
        {
            var sum = after.GetValueOrDefault(run.Model) ?? new(run.Model, 0, 0, 0, IsPriced: true);
            after[run.Model] = sum with
            {
                InputTokens = sum.InputTokens + run.InputTokens,
                OutputTokens = sum.OutputTokens + run.OutputTokens,
                CostMicroUsd = sum.CostMicroUsd + run.CostMicroUsd,
                IsPriced = sum.IsPriced && run.HasUnpricedTokens is not true,
            };
        }
        return after;
    }

    /// <param name="Through">Creation of the newest run that is added; no run before it is live.</param>
    sealed record Sum(long Through, SortedDictionary<string, UsageOfModel> Models)
    {
        public static Sum None { get; } = new(0, new(StringComparer.Ordinal));
    }
}
