namespace Cowork.Application;

/// <summary>The folder of a session's artifacts, beside the output roots of its grants: each file that a run writes below it is one.</summary>
public static class OutputRoot
{
    /// <summary>Path relative to the session's folder.</summary>
    public const string Path = Domain.FolderGrant.ImplicitOutputRoot;

    /// <summary>True for a path below it.</summary>
    /// <param name="name">Resolved path relative to the session's folder.</param>
    public static bool Contains(string name) => name.StartsWith(Path + "/", StringComparison.Ordinal);

    /// <summary>The media type by the name's extension.</summary>
    public static string MediaType(string path) => System.IO.Path.GetExtension(path).ToLowerInvariant() switch
    {
        ".md" => "text/markdown",
        ".txt" or ".log" => "text/plain",
        ".html" or ".htm" => "text/html",
        ".css" => "text/css",
        ".js" or ".mjs" => "text/javascript",
        ".csv" => "text/csv",
        ".json" => "application/json",
        ".ipynb" => "application/x-ipynb+json",
        ".xml" => "application/xml",
        ".yaml" or ".yml" => "application/yaml",
        ".pdf" => "application/pdf",
        ".png" => "image/png",
        ".jpg" or ".jpeg" => "image/jpeg",
        ".gif" => "image/gif",
        ".svg" => "image/svg+xml",
        ".webp" => "image/webp",
        ".zip" => "application/zip",
        ".docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ".xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ".pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        _ => "application/octet-stream",
    };
}
