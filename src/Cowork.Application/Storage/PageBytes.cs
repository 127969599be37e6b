namespace Cowork.Application.Storage;

/// <summary>The bytes that one page or list reads from the database, however many rows or events were asked for.</summary>
public static class PageBytes
{
    const long Most = 8 << 20;
    const long Least = 256 << 10;

    /// <summary>So many pages fit into the memory of the process.</summary>
    const long PagesInMemory = 256;

    /// <summary>8 MiB, or less where the process has little memory. A page ends after the row that exceeds it.</summary>
    public static long Max { get; } = Math.Clamp(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / PagesInMemory, Least, Most);
}
