using Cowork.Application.Storage;

namespace Cowork.Application;

/// <summary>When and by what a stream began.</summary>
/// <param name="Correlation">See <see cref="Origin"/>.</param>
/// <param name="Causation">See <see cref="Origin"/>.</param>
public sealed record Began(DateTimeOffset At, string? Correlation, string? Causation)
{
    internal static Began By(RecordedEvent first) => new(first.At, first.Correlation, first.Causation);
}

/// <summary>A stream's state and read-model rows at a version.</summary>
/// <param name="Cached">It was in the cache, so that it may be behind the log.</param>
sealed record StreamState(long Version, string Hash, object State, StreamRows Rows, Began? Began, bool Cached = false);
