using System.Collections.Immutable;

namespace Cowork.Domain;

/// <summary>
/// A folder that a session may read, and what else it may do there (contract C, <c>FolderGrant</c>). Of two grants that hold a file, the one of the deeper folder decides.
/// </summary>
/// <param name="Path">Absolute path of the folder, with every link in it followed when the session was created.</param>
/// <param name="AllowWrite">Files that are there may get another content.</param>
/// <param name="AllowCreate">Files and folders may be created.</param>
/// <param name="AllowDelete">Files may be deleted, and moved away.</param>
/// <param name="OutputRoots">
/// Folders where writing and creating need no approval, and where each file that is written is an artifact: relative to <paramref name="Path"/>, or absolute and inside it;
/// <c>.</c> is the whole folder.
/// </param>
public sealed record FolderGrant(string Path, bool AllowWrite, bool AllowCreate, bool AllowDelete, ImmutableList<string> OutputRoots)
{
    /// <summary>The output root of a session whose creation names no grants, relative to its folder.</summary>
    public const string ImplicitOutputRoot = ".anton/output";

    /// <summary>
    /// The one grant of a session whose creation names none, as in contracts A and B: its folder, with everything that a person may approve there
    /// (contracts/decisions.md, "Runs").
    /// </summary>
    public static FolderGrant Implicit(string workspacePath) => new(workspacePath, AllowWrite: true, AllowCreate: true, AllowDelete: true, [ImplicitOutputRoot]);
}

/// <summary>Connections that a session may use (contract C, <c>ConnectorGrant</c>).</summary>
/// <param name="Provider">The kind of connection: <c>postgres</c>, <c>github</c>.</param>
/// <param name="ConnectionId">The only connection; null: any of the provider.</param>
/// <param name="Scopes">What the client says the session needs of the provider. It is kept, and limits nothing: a connection's own credentials do.</param>
/// <param name="AllowActions">False: the connections are only read.</param>
public sealed record ConnectorGrant(string Provider, ConnectionKey? ConnectionId, ImmutableList<string> Scopes, bool AllowActions);
