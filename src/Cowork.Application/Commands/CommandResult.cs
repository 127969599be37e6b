using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What became of a command.</summary>
/// <param name="Refused">Null: it is in the log, or nothing had to be done.</param>
/// <param name="Streams">The streams that the command decided on, as its commit left them; none of a command that was refused.</param>
public sealed record CommandResult(Refusal? Refused, IReadOnlyList<StreamResult> Streams)
{
    /// <summary>A stream that the command decided on, by its name.</summary>
    public StreamResult On(string stream) => Streams.Single(s => s.Stream == stream);
}

/// <summary>A stream as a commit left it.</summary>
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
