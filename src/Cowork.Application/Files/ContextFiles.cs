using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;

using Cowork.Domain;

namespace Cowork.Application;

/// <summary>A file that the user of contract C names for a task (<c>contextFiles</c>): its text, or why there is none.</summary>
/// <param name="Path">As the request names it.</param>
public abstract record ContextFile(string Path)
{
    /// <param name="Name">The one name of the file, as <see cref="Grants.NameOf"/> has it.</param>
    /// <param name="Sha256">Hex SHA-256 of the bytes that the text is made of.</param>
    /// <param name="Bytes">Their number.</param>
    /// <param name="IsCut">The file has more than these.</param>
    public sealed record Read(string Path, string Name, string Sha256, long Bytes, string Text, bool IsCut) : ContextFile(Path);

    /// <param name="Why">A sentence.</param>
    public sealed record Refused(string Path, string Why) : ContextFile(Path);
}

/// <summary>
/// Reads context files inside a session's grants, once, when a task is accepted. A file is read from the descriptor that was judged, up to the length that it had then and to
/// the limits: one that grows, shrinks or is swapped meanwhile gives what was there, and never what lies outside.
/// </summary>
public sealed class ContextFiles(CommandHandler commands, IWorkspaces workspaces, Policy policy)
{
    /// <summary>Answers the files in the order of their paths. Null: there is no such session, or it has no folder that its tenant may use.</summary>
    /// <param name="paths">Relative to the session's first folder, or absolute; at most <see cref="Limits.TaskFilesMax"/>.</param>
    public async ValueTask<ImmutableList<ContextFile>?> Read(string org, SessionKey session, IReadOnlyList<string> paths, CancellationToken ct)
    {
        if (await commands.LatestState(org, Session.Aggregate, session, ct) is not Session.Open open || await workspaces.Grants(org, open, ct) is not { } grants)
        {
            return null;
        }
        var files = ImmutableList.CreateBuilder<ContextFile>();
        var room = (long)Limits.TaskFilesBytesMax;
        foreach (var path in paths)
        {
            var file = await Read(grants, path, (int)Math.Min(room, Limits.TaskFileBytesMax), ct);
            room -= file is ContextFile.Read { Bytes: var bytes } ? bytes : 0;
            files.Add(file);
        }
        return files.ToImmutable();
    }

    /// <param name="bytesMax">0: the files before it have taken the room.</param>
    async ValueTask<ContextFile> Read(Grants grants, string path, int bytesMax, CancellationToken ct)
    {
        using var opened = GrantedPath.Open(grants, path);
        switch (opened)
        {
            case GrantedPath.Invalid invalid:
                return new ContextFile.Refused(path, invalid.Reason);
            case GrantedPath.Outside:
                return new ContextFile.Refused(path, "The path leads out of the folders granted to the session.");
            case GrantedPath.Missing missing:
                return new ContextFile.Refused(path, missing.Reason);
            case GrantedPath.Found { IsDirectory: true }:
                return new ContextFile.Refused(path, "It is a folder. Name files.");
            case GrantedPath.Found found when !policy.MayShow(found.Relative):
                return new ContextFile.Refused(path, "The policy does not let it be read without approval.");
            case GrantedPath.Found { WhyProtected: { } why }:
                return new ContextFile.Refused(path, why);
            case GrantedPath.Found found:
                return await Read(path, found, bytesMax, ct);
            default:
                throw new System.Diagnostics.UnreachableException(opened.GetType().Name);
        }
    }

    static async ValueTask<ContextFile> Read(string path, GrantedPath.Found found, int bytesMax, CancellationToken ct)
    {
        if (found.Size > 0 && bytesMax == 0)
        {
            return new ContextFile.Refused(path, $"The files before it have the {Limits.TaskFilesBytesMax} bytes that the context files of a task may have.");
        }
        byte[] bytes;
        bool isCut;
        try
        {
            await using var file = found.OpenRead();
            bytes = new byte[Math.Min(found.Size, bytesMax)];
            var length = await file.ReadAtLeastAsync(bytes, bytes.Length, throwOnEndOfStream: false, ct);
            bytes = bytes[..length];
            // What was added since the look is left out, and said.
            isCut = file.Length > length;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return new ContextFile.Refused(path, "The host cannot read it.");
        }
        if (FileText.DetectEncoding(bytes, isWhole: !isCut) is not { } encoding)
        {
            return new ContextFile.Refused(path, "It is a binary file, and no text.");
        }
        return new ContextFile.Read(
            path, found.Name, Convert.ToHexStringLower(SHA256.HashData(bytes)), bytes.Length, StorableText.Escape(Decode(encoding, bytes, isCut)), isCut);
    }

    /// <summary>The text without a byte order mark, and without a character that the cut went through.</summary>
    static string Decode(Encoding encoding, byte[] bytes, bool isCut)
    {
        var decoder = encoding.GetDecoder();
        var text = new char[encoding.GetMaxCharCount(bytes.Length)];
        var length = decoder.GetChars(bytes, text, flush: !isCut);
        return new string(text, 0, length).TrimStart('\ufeff');
    }
}
