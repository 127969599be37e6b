using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What jobs and tools ask of the read model of uploaded files.</summary>
public interface IFileQueries
{
    /// <summary>Files of a conversation that are not deleted.</summary>
    ValueTask<IReadOnlyList<FileKey>> Of(string org, SessionKey session, int max, CancellationToken ct);

    /// <summary>Files of a project that are not deleted.</summary>
    ValueTask<IReadOnlyList<FileKey>> Of(string org, ProjectKey project, int max, CancellationToken ct);

    /// <summary>A file that the runs of a conversation see, as of <see cref="VisibleTo"/>; null: there is none of this key.</summary>
    ValueTask<VisibleFile?> Visible(string org, SessionKey session, string? subject, FileKey file, CancellationToken ct);

    /// <summary>A file's upload and its text; null: there is no such file, or it has no text.</summary>
    ValueTask<(FileUpload Upload, Content.Blob Text)?> TextOf(string org, FileKey file, CancellationToken ct);

    /// <summary>
    /// The files that the runs of a conversation see, those of the conversation and those of its project, newest first. Of its project's files, those of a data subject are seen
    /// by runs of the same subject alone: what another run says of them is not sealed with them. What was erased is not seen.
    /// </summary>
    /// <param name="subject">The data subject of the runs; null: nobody.</param>
    /// <param name="max">More are not looked at.</param>
    ValueTask<IReadOnlyList<VisibleFile>> VisibleTo(string org, SessionKey session, string? subject, int max, CancellationToken ct);
}

/// <summary>A file as a run sees it.</summary>
/// <param name="Text">Its text; null: it has none, and <paramref name="WhyNoText"/> says why.</param>
/// <param name="IsCut">The file has more text.</param>
/// <param name="Project">The project whose runs see it; null: those of its conversation alone do.</param>
/// <param name="IsProcessing">Its text is still being extracted.</param>
public sealed record VisibleFile(
    FileKey File, string Name, long Bytes, Content.Blob? Text, bool IsCut, string? WhyNoText, ProjectKey? Project = null, bool IsProcessing = false);
