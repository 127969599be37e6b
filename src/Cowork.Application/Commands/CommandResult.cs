using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>The outcome of a command.</summary>
/// <param name="Refused">Null: it was committed, or it was a no-op.</param>
/// <param name="Streams">The streams of the command's decisions after the commit; empty when refused.</param>
public sealed record CommandResult(Refusal? Refused, IReadOnlyList<StreamResult> Streams)
{
    /// <summary>A stream that the command decided on, by its name.</summary>
    public StreamResult On(string stream) => Streams.Single(s => s.Stream == stream);
}

/// <summary>A stream after a commit.</summary>
/// <param name="Before">The version that the commit found; the same as <paramref name="Version"/> when it wrote nothing to the stream.</param>
/// <param name="Rows">The read models' rows at <paramref name="Version"/>.</param>
public sealed record StreamResult(string Stream, long Before, long Version, StreamRows Rows)
{
    /// <summary>The stream's key: its name without that of its aggregate.</summary>
    public string Key => Stream[(Stream.IndexOf('-', StringComparison.Ordinal) + 1)..];

    public bool HasChanged => Version > Before;

    /// <summary>The row under the stream's own key.</summary>
    /// <exception cref="InvalidOperationException">The stream has no such row at this version.</exception>
    public TRow Row<TRow>(ReadModel<TRow> model)
        where TRow : class => Row(model, Key);

    /// <summary>The row of a keyed model.</summary>
    /// <exception cref="InvalidOperationException">The stream has no such row at this version.</exception>
    public TRow Row<TRow>(ReadModel<TRow> model, string key)
        where TRow : class =>
        (TRow?)Rows.Get(model, key) ?? throw new InvalidOperationException($"{Stream} has no row {key} in {model.Table} at version {Version}.");
}
