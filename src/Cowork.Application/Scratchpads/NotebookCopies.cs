using System.Collections.Immutable;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Makes the files that a scratchpad is kept as.</summary>
public sealed class NotebookCopies(CommandHandler commands, IBlobs blobs)
{
    const string Folder = $"{OutputRoot.Path}/scratchpads";

    /// <summary>The scratchpad as it is now, kept: a notebook and a web page, whose content is in the blob store. Null: there is no such scratchpad.</summary>
    /// <param name="newTitle">The title that it gets with the same commit; null: it keeps its own.</param>
    public async ValueTask<SaveScratchpad?> Save(string org, ScratchpadKey scratchpad, string? newTitle, CancellationToken ct)
    {
        if (await commands.LatestState(org, Scratchpad.Aggregate, scratchpad, ct) is not Scratchpad.Live live)
        {
            return null;
        }
        var (title, cells) = (newTitle ?? await blobs.Text(live.Title, ct), await Cells(live, ct));
        var (notebook, page) = (Notebook.Write(title, cells), NotebookPage.Write(title, cells));
        var kept = blobs.For(org, live.Subject);
        var copy = new SavedCopy(
            $"{Folder}/{scratchpad.Id}.ipynb", await kept.Put(notebook, ct), $"{Folder}/{scratchpad.Id}.html", await kept.Put(page, ct));
        return new(
            copy,
            [
                new(copy.Notebook, copy.NotebookSha256, notebook.Length, new(ArtifactTypes.Doc, title)),
                new(copy.Page, copy.PageSha256, page.Length, new(ArtifactTypes.Report, title)),
            ]);
    }

    /// <summary>The cells with their texts.</summary>
    public async ValueTask<IReadOnlyList<NotebookCell>> Cells(Scratchpad.Live scratchpad, CancellationToken ct)
    {
        var cells = new List<NotebookCell>();
        foreach (var cell in scratchpad.Cells)
        {
            cells.Add(new(cell, await blobs.Text(cell.Content, ct), await blobs.Outputs(cell.Result?.Outputs, ct)));
        }
        return cells;
    }

    /// <summary>The cells of an imported notebook, with their texts in the blob store.</summary>
    public async ValueTask<ImmutableList<NewCell>> Import(
        string org, SessionKey session, IReadOnlyList<ImportedCell> cells, DateTimeOffset now, CancellationToken ct)
    {
        var kept = blobs.For(org, (await commands.State(org, Session.Aggregate, session, ct) as Session.Open)?.Subject);
        var made = ImmutableList.CreateBuilder<NewCell>();
        foreach (var cell in cells)
        {
            var result = cell is { Outputs: null, ExecutionCount: null, Error: null } ? null : new CellResult(
                cell.Error, Truncated: cell.Truncated, Outputs: cell.Outputs is { } outputs ? await kept.Store(outputs, ct) : null, ExecutionCount: cell.ExecutionCount);
            made.Add(new(CellKey.New(now), cell.Type, await kept.Store(cell.Content, ct), cell.Language, result));
        }
        return made.ToImmutable();
    }
}
