using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Names a text in the index.</summary>
/// <param name="Owner">What the text belongs to, and is removed with: <see cref="OfSession"/>, <see cref="OfFile"/>.</param>
/// <param name="Name">Its name within the owner, by which hits are told: a path, a file's name.</param>
public sealed record TextKey(string Owner, string Name)
{
    /// <summary>Owner of the texts in a session's folder.</summary>
    public static string OfSession(SessionKey session) => $"session:{session.Value}";

    /// <summary>Owner of the texts that clients keep indexed in a granted folder.</summary>
    /// <param name="path">Absolute path of the folder.</param>
    public static string OfGrant(string path) => $"grant:{path}";

    const string FilePrefix = "file:";

    /// <summary>Owner of an uploaded file's text.</summary>
    public static string OfFile(FileKey file) => $"{FilePrefix}{file.Value}";

    /// <summary>The uploaded file that an owner of <see cref="OfFile"/> is.</summary>
    public static FileKey FileOf(string owner) => new(owner[FilePrefix.Length..]);
}

/// <summary>What a search looks through. A text is in one scope or in several.</summary>
public static class TextScope
{
    /// <summary>The texts in a session's folder.</summary>
    public static string Folder(SessionKey session) => $"folder:{session.Value}";

    /// <summary>The texts that clients keep indexed in a granted folder.</summary>
    public static string Grant(string path) => $"grant:{path}";

    /// <summary>The uploaded files of a conversation.</summary>
    public static string Conversation(SessionKey session) => $"conversation:{session.Value}";

    /// <summary>The uploaded files of a project.</summary>
    public static string Project(ProjectKey project) => $"project:{project.Value}";

    /// <summary>All uploaded files of the tenant.</summary>
    public const string Uploads = "uploads";
}

/// <summary>A text that the index has.</summary>
/// <param name="Version">What the caller tells one content from another by.</param>
/// <param name="Sha256">Hex digest of the content; null: it has no text.</param>
/// <param name="LeftOut">Why nothing of it is found, for example <c>not text</c>; null: it is searched.</param>
public sealed record TextEntry(string Name, string Version, string? Sha256, string? LeftOut);

/// <summary>A text to be put into the index.</summary>
/// <param name="Scopes">Where it is found.</param>
/// <param name="Text">Null: it has no passages, and <paramref name="Entry"/> says why.</param>
public sealed record NewText(TextKey Key, TextEntry Entry, IReadOnlyList<string> Scopes, TextIndex? Text);

/// <summary>A passage with a term of the query.</summary>
/// <param name="Owner">See <see cref="TextKey"/>.</param>
/// <param name="Fields">A record's values with their column names; empty for plain text.</param>
/// <param name="Terms">Number of terms in the passage.</param>
/// <param name="Counts">How often each of the query's terms is in it, in their order.</param>
public sealed record Candidate(string Owner, Passage Passage, IReadOnlyList<(string Name, string Value)> Fields, int Terms, IReadOnlyList<int> Counts);

/// <summary>What the index knows of a query.</summary>
/// <param name="Passages">Passages of all texts in the scopes.</param>
/// <param name="Length">Terms of all these passages.</param>
/// <param name="Containing">How many passages each of the query's terms stands for. A name of a table or of its columns stands for all rows of that table.</param>
/// <param name="Candidates">Passages with the rarest terms of the query.</param>
public sealed record TextMatches(long Passages, long Length, IReadOnlyList<long> Containing, IReadOnlyList<Candidate> Candidates);

/// <summary>An uploaded file whose text is not in the index.</summary>
public sealed record MissingText(string Org, FileKey File);

/// <summary>
/// The full-text index: the one way in which texts outside the log are searched, those in folders of sessions and those of uploaded files. It is no fact of
/// the log: what it holds was read from files, and can be read and put again. <see cref="TextSearch"/> asks it and ranks.
/// </summary>
public interface ITexts
{
    /// <summary>The texts of an owner.</summary>
    ValueTask<IReadOnlyList<TextEntry>> Of(string org, string owner, CancellationToken ct);

    /// <summary>Puts a text in, or another content in the place of what has its key. A search finds the old content or the new one.</summary>
    /// <param name="scopes">Where it is found.</param>
    /// <param name="text">Null: it has no passages, and <paramref name="entry"/> says why.</param>
    ValueTask Put(string org, TextKey key, TextEntry entry, IReadOnlyList<string> scopes, TextIndex? text, CancellationToken ct);

    /// <summary>Puts small texts in, all or none, as <see cref="Put(string, TextKey, TextEntry, IReadOnlyList{string}, TextIndex?, CancellationToken)"/> does one.</summary>
    ValueTask Put(string org, IReadOnlyList<NewText> added, CancellationToken ct);

    /// <summary>Gives texts another version. Their content is the same.</summary>
    ValueTask Touch(string org, string owner, IReadOnlyList<TextEntry> entries, CancellationToken ct);

    /// <summary>Removes an owner's texts.</summary>
    /// <param name="names">Null: all of them.</param>
    ValueTask Remove(string org, string owner, IReadOnlyList<string>? names, CancellationToken ct);

    /// <summary>The passages that share most with a query, no more than <paramref name="max"/>.</summary>
    /// <param name="terms">Those of <see cref="Stemmer.QueryTerms"/>.</param>
    ValueTask<TextMatches> Match(string org, IReadOnlyList<string> scopes, IReadOnlyList<string> terms, int max, CancellationToken ct);

    /// <summary>Removes the texts of sessions that are gone. A removal may have been missed when a host was killed.</summary>
    /// <returns>How many texts were removed.</returns>
    ValueTask<long> Sweep(CancellationToken ct);

    /// <summary>Uploaded files that have a text which is not in the index: it was lost with the tables, which hold no fact.</summary>
    /// <param name="after">The last file that was looked at; null: from the first on.</param>
    ValueTask<IReadOnlyList<MissingText>> Missing(MissingText? after, int max, CancellationToken ct);
}
