using static Cowork.Domain.UploadedFileCommand;
using static Cowork.Domain.UploadedFileEvent;

namespace Cowork.Domain;

/// <summary>Commands to a file of contract B.</summary>
public abstract record UploadedFileCommand(DateTimeOffset Now)
{
    public sealed record Upload(FileKey FileId, FileUpload File, DateTimeOffset Now) : UploadedFileCommand(Now);

    /// <summary>Records the text of the file's content.</summary>
    /// <param name="MediaType">What the content is.</param>
    /// <param name="Sha256">Hex SHA-256 of the text in the blob store.</param>
    /// <param name="Bytes">Of the text, in UTF-8.</param>
    /// <param name="IsCut">The file has more text.</param>
    public sealed record RecordText(string MediaType, string Sha256, long Bytes, bool IsCut, DateTimeOffset Now) : UploadedFileCommand(Now);

    /// <summary>Records that the file's content has no text that can be extracted.</summary>
    /// <param name="MediaType">What the content is.</param>
    /// <param name="Code">Stable, in snake case (docs/platform.md, "Files").</param>
    /// <param name="Detail">A sentence for the file's owner.</param>
    public sealed record RecordFailure(string MediaType, string Code, string Detail, DateTimeOffset Now) : UploadedFileCommand(Now);

    public sealed record Delete(DateTimeOffset Now) : UploadedFileCommand(Now);
}

public abstract record UploadedFileEvent(DateTimeOffset At) : Event(At)
{
    /// <inheritdoc cref="FileUpload"/>
    public sealed record FileUploaded(
        FileKey FileId, [property: Personal] string Name, string? DeclaredMediaType, string MediaType, [property: Personal(PersonalAttribute.Digest)] string Sha256, long Bytes,
        ProjectKey? ProjectId, SessionKey? SessionId, DateTimeOffset At, string? Subject = null)
        : UploadedFileEvent(At);

    /// <inheritdoc cref="UploadedFileCommand.RecordText"/>
    public sealed record FileTextExtracted(
        string MediaType, [property: Personal(PersonalAttribute.Digest)] string Sha256, long Bytes, bool IsCut, DateTimeOffset At) : UploadedFileEvent(At);

    /// <inheritdoc cref="UploadedFileCommand.RecordFailure"/>
    public sealed record FileExtractionFailed(string MediaType, string Code, [property: Personal] string Detail, DateTimeOffset At) : UploadedFileEvent(At);

    /// <summary>Read models forget the file. The log and the blob store keep it.</summary>
    public sealed record FileDeleted(DateTimeOffset At) : UploadedFileEvent(At);
}

/// <summary>A file as it was uploaded. It never changes.</summary>
/// <param name="Name">As the client gave it, without folders (<see cref="FileNames"/>). It is data and never part of a path of the host.</param>
/// <param name="DeclaredMediaType">As the client gave it; null: it gave none.</param>
/// <param name="MediaType">By the content's first bytes, and by the name where they do not tell.</param>
/// <param name="Sha256">Hex SHA-256 of the content in the blob store.</param>
/// <param name="Bytes">Of the content.</param>
/// <param name="ProjectId">The project that the file belongs to; null: none.</param>
/// <param name="SessionId">The conversation that the file belongs to; null: none. A file of both goes when either goes.</param>
public sealed record FileUpload(string Name, string? DeclaredMediaType, string MediaType, string Sha256, long Bytes, ProjectKey? ProjectId, SessionKey? SessionId,
    string? Subject = null);

/// <summary>A file that a client uploaded: to a project, to a conversation, to both, or to the tenant. Its text is extracted once.</summary>
public abstract record UploadedFile
{
    public sealed record None : UploadedFile;

    /// <summary>The text is being extracted.</summary>
    public sealed record Processing(FileKey FileId, FileUpload File) : UploadedFile, IOfSubject
    {
        [System.Text.Json.Serialization.JsonIgnore]
        public string? Subject => File.Subject;
    }

    /// <summary>The extraction is over.</summary>
    /// <param name="HasText">The content has text.</param>
    public sealed record Processed(FileKey FileId, FileUpload File, bool HasText) : UploadedFile, IOfSubject
    {
        [System.Text.Json.Serialization.JsonIgnore]
        public string? Subject => File.Subject;
    }

    public sealed record Deleted : UploadedFile;

    public static Aggregate<FileKey, UploadedFileCommand, UploadedFileEvent, UploadedFile> Aggregate { get; } = new("file", new None(), Decide, Evolve);

    /// <summary>The file's upload, while it is there; null: it is not there.</summary>
    public FileUpload? Upload => this switch { Processing p => p.File, Processed p => p.File, _ => null };

    public static Decision<UploadedFileEvent> Decide(UploadedFileCommand command, UploadedFile state) => (command, state) switch
    {
        (Upload { File: var f } c, None) =>
            new FileUploaded(c.FileId, f.Name, f.DeclaredMediaType, f.MediaType, f.Sha256, f.Bytes, f.ProjectId, f.SessionId, c.Now,
                f.Subject),
        (Upload c, Processing s) when s.FileId == c.FileId => Decision<UploadedFileEvent>.Nothing,
        (Upload c, Processed s) when s.FileId == c.FileId => Decision<UploadedFileEvent>.Nothing,
        (RecordText c, Processing) => new FileTextExtracted(c.MediaType, c.Sha256, c.Bytes, c.IsCut, c.Now),
        (RecordFailure c, Processing) => new FileExtractionFailed(c.MediaType, c.Code, c.Detail, c.Now),
        // The job is done again when its end was not recorded.
        (RecordText or RecordFailure, Processed) => Decision<UploadedFileEvent>.Nothing,
        (Delete c, Processing or Processed) => new FileDeleted(c.Now),
        _ => Refusal.NotFound("file"),
    };

    public static UploadedFile Evolve(UploadedFile state, UploadedFileEvent e) => (e, state) switch
    {
        (FileUploaded u, _) => new Processing(u.FileId, new(u.Name, u.DeclaredMediaType, u.MediaType, u.Sha256, u.Bytes, u.ProjectId, u.SessionId, u.Subject)),
        (FileTextExtracted, Processing s) => new Processed(s.FileId, s.File, HasText: true),
        (FileExtractionFailed, Processing s) => new Processed(s.FileId, s.File, HasText: false),
        (FileDeleted, Processing or Processed) => new Deleted(),
        _ => throw new System.Diagnostics.UnreachableException($"{e.GetType().Name} in {state.GetType().Name}"),
    };
}
