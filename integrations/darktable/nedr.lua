--[[ nedr in darktable (4.0 or newer): removes haze from every exported photograph, if switched on.

Copy this file to darktable's Lua folder (~/.config/darktable/lua), add `require "nedr"` to luarc next to that folder, and
switch it on in the preferences under Lua options, where the command and the strength are set too.
]]

local dt = require "darktable"

local SUFFIXES = { jpg = true, jpeg = true, png = true, tif = true, tiff = true, webp = true, avif = true, ppm = true }

dt.preferences.register("nedr", "on", "bool", "nedr: remove haze from exports", "applies to each exported file", false)
dt.preferences.register("nedr", "command", "string", "nedr: command", "with its path, if it is not found", "nedr")
dt.preferences.register("nedr", "strength", "float", "nedr: strength", "0 changes nothing", 1, 0, 1.5, 0.05)

local function quoted(text)
  if dt.configuration.running_os == "windows" then
    return '"' .. text .. '"'
  end
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function command(filename, target)
  local strength = string.format("%.2f", dt.preferences.read("nedr", "strength", "float")):gsub(",", ".")
  local words = { quoted(dt.preferences.read("nedr", "command", "string")), quoted(filename), "-o", quoted(target) }
  return table.concat(words, " ") .. " --strength " .. strength
end

-- darktable has written the file but not yet stored it: replace it, or leave it unchanged and say so.
local function dehaze(_, image, filename)
  local stem, suffix = filename:match("^(.*)%.(%w+)$")
  if not dt.preferences.read("nedr", "on", "bool") or not stem then
    return
  end
  if not SUFFIXES[suffix:lower()] then
    dt.print("nedr: ." .. suffix .. " is exported with its haze; choose JPEG, PNG, TIFF or WebP")
    return
  end
  local target = stem .. ".nedr." .. suffix
  local done = dt.control and dt.control.execute or os.execute
  local status = done(command(filename, target))
  if (status == 0 or status == true) and os.remove(filename) and os.rename(target, filename) then
    return
  end
  os.remove(target)
  dt.print_error("nedr failed on " .. filename)
  dt.print("nedr: " .. image.filename .. " is exported with its haze; is the command set right?")
end

dt.register_event("nedr", "intermediate-export-image", dehaze)
