namespace Cowork.Documents;

/// <summary>How the process ends by itself.</summary>
static class ExitCodes
{
    /// <summary>The end was written.</summary>
    public const int Done = 0;

    /// <summary>The process could not be confined, or the document could not be opened. Standard error says why.</summary>
    public const int NotStarted = 70;
}
