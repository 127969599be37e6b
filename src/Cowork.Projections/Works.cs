using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;

using static Cowork.Domain.WorkEvent;

namespace Cowork.Projections;

/// <summary>A work as lists show it: without its payload, which may be long.</summary>
/// <param name="Version">Of the work as clients see it.</param>
public sealed record WorkRow(WorkKey WorkId, string Owner, string Bucket, WorkCard Card, long Version, DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt);

/// <summary>The read model of works, by their owner and bucket. <c>GET /myworks</c> reads it in pages of one moment.</summary>
public static class Works
{
    public static ReadModel<WorkRow> Model { get; } =
        new("works", Work.Aggregate.Name, RowJson.Default.WorkRow, Evolve, Scope: row => row.Owner, Status: row => row.Bucket)
        {
            Lists = RowLists.None,
            OwnerMember = "owner",
            Form = 2,
            Place = row => new(row.UpdatedAt.ToUnixTimeMilliseconds(), TextOf(row.Card)),
        };

    public static WorkRow? Evolve(WorkRow? row, RecordedEvent e) => (e.Event, row) switch
    {
        (WorkCreated c, _) => new(c.WorkId, c.Owner, c.Bucket, c.Card, 1, e.At, e.At),
        (_, null) => null,
        (WorkChanged c, { } r) => r with { Card = c.Card, Version = r.Version + 1, UpdatedAt = e.At },
        (WorkDeleted, _) => null,
        (_, { } r) => r,
    };

    /// <summary>What a search compares: label, preview and tags (contracts/decisions.md, "E, the rest").</summary>
    static string TextOf(WorkCard card)
    {
        var preview = card.Preview ?? "";
        var chars = Math.Min(preview.Length, Limits.WorkPreviewCharsSearched);
        // Half of a surrogate pair is no text.
        chars -= chars > 0 && char.IsHighSurrogate(preview[chars - 1]) ? 1 : 0;
        return PartsOfWords.Fold(string.Join('\n', [card.Label, .. card.Tags ?? [], preview[..chars]]));
    }
}
